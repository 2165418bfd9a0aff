"""Pairs that are labelled more than once: which rows stay, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterator

from relabel.formats.faults import BadRow


def repeated_rows(
    query_id: str, doc_id: str, rows: list[tuple[int, float | None, str]], repeated: str
) -> Iterator[tuple[int, float | None, str, BadRow, bool]]:
    """Which rows of one repeated key go aside: (row number, label, place, why, whether the recipe chose so).

    Args:
        rows: (row number, label, place) of the key in input order, two or more.
        repeated: `bad`: equal labels keep the first row, different labels keep none; `highest`: the first row with
            the highest label stays.
    """
    values = [value for _, value, _ in rows]
    key = f"the pair ({query_id!r}, {doc_id!r})"
    if repeated == "highest":
        best = max(range(len(rows)), key=lambda at: (values[at] is not None, values[at] or 0, -at))
        for at, (number, value, place) in enumerate(rows):
            if at != best:
                found = f"{key} judged {_grade(value)}, and {_grade(values[best])} in {rows[best][2]}"
                yield number, value, place, BadRow("repeated-judgement", found, "the highest grade of a pair"), True
    elif len(set(values)) == 1:
        for number, value, place in rows[1:]:
            found = f"{key} again with the same label, as in {rows[0][2]}"
            yield number, value, place, BadRow("duplicate-key", found, "one row a pair"), False
    else:
        other = next(at for at, value in enumerate(values) if value != values[0])
        for at in [other, *(at for at in range(len(rows)) if at != other)]:
            number, value, place = rows[at]
            against = 0 if value != values[0] else other
            found = f"{key} with the label {_grade(value)}, but {_grade(values[against])} in {rows[against][2]}"
            wanted = "one label a pair (repeated: highest keeps the highest)"
            yield number, value, place, BadRow("conflicting-labels", found, wanted), False


def _grade(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"
