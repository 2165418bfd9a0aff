"""The checks of `checks`, over whole Arrow columns: what pairs that carry their texts must satisfy.

`clean_rows` looks at rows one by one, `clean_groups` at the rows of whole queries: one text a query, no key twice.
Both take tables of `pairs.ROWS` and give the good rows; bad rows go to `Faults`. Only a bad row costs Python time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.formats.checks import empty_text
from relabel.formats.faults import BadRow, Faults
from relabel.formats.repeated import repeated_rows
from relabel.records import Scale


@dataclass(frozen=True)
class PairRules:
    """What rows must satisfy.

    Attributes:
        scale: the grades that labels may have.
        whole_grades: labels must be grades of the scale, not numbers between them.
        max_text_chars: the longest query, title or text.
        repeated: `bad` or `highest`, see `repeated_rows`.
    """

    scale: Scale
    whole_grades: bool
    max_text_chars: int
    repeated: str


def clean_rows(table: pa.Table, rules: PairRules, faults: Faults) -> pa.Table:
    """The rows whose ids, texts, grade and frequency can be used; null titles become empty."""
    title = pc.fill_null(table.column("title"), "")
    table = table.set_column(table.schema.get_field_index("title"), "title", title)
    for name in ("query_id", "doc_id"):
        table = _without(table, _blank(table.column(name)), faults, lambda row, name=name: _no_id(row, name))
    for name in ("query", "title", "text"):
        long = pc.greater(pc.utf8_length(table.column(name)), rules.max_text_chars)
        table = _without(table, long, faults, lambda row, name=name: _too_long(row, name, rules.max_text_chars))
    table = _without(table, _blank(table.column("query")), faults, lambda row: empty_text("query"))
    no_document = pc.and_(_blank(table.column("text")), _blank(table.column("title")))
    table = _without(table, no_document, faults, lambda row: empty_text("text"))
    for name in ("query_id", "doc_id", "query", "title", "text"):
        nul = pc.match_substring(table.column(name), "\0")
        table = _without(table, nul, faults, lambda row, name=name: _nul(row, name))
    infinite = pc.invert(pc.is_finite(table.column("label")))
    table = _without(table, infinite, faults, lambda row: _bad_grade(row["label"], rules.scale))
    table = _without(table, _off_scale(table.column("label"), rules), faults, lambda row: _off(row["label"], rules))
    negative = pc.less(table.column("query_frequency"), 0)
    return _without(table, negative, faults, lambda row: _negative(row["query_frequency"]))


def clean_groups(table: pa.Table, rules: PairRules, faults: Faults) -> pa.Table:
    """The usable rows of whole queries, whose rows must lie together: one text a query, one row a key."""
    if not table.num_rows:
        return table
    table = _one_text_a_query(table, faults)
    keys = table.group_by(["query_id", "doc_id"], use_threads=False).aggregate([("row", "count")])
    if keys.num_rows == table.num_rows:
        return table
    keys = keys.filter(pc.greater(keys.column("row_count"), 1))
    return _one_row_a_key(table, keys, rules, faults)


def query_starts(table: pa.Table) -> np.ndarray:
    """Row numbers at which another query begins, 0 included; the rows of a query lie together."""
    ids = table.column("query_id").combine_chunks()
    if len(ids) < 2:
        return np.zeros(min(len(ids), 1), dtype=np.int64)
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def _one_text_a_query(table: pa.Table, faults: Faults) -> pa.Table:
    starts = query_starts(table)
    of_row = np.repeat(starts, np.diff(np.append(starts, table.num_rows)))
    first_text = table.column("query").combine_chunks().take(pa.array(of_row))
    other = pc.not_equal(table.column("query").combine_chunks(), first_text).to_numpy(zero_copy_only=False)
    if not other.any():
        return table
    contested = set(of_row[other].tolist())
    places = {at: _place(table, at) for at in contested}
    against = {at: _place(table, int(np.flatnonzero(other & (of_row == at))[0])) for at in contested}
    bad = np.isin(of_row, list(contested))
    order = np.lexsort((np.arange(len(bad)), ~other))
    for at in (int(at) for at in order if bad[at]):
        row = _row(table, at)
        place = places[of_row[at]] if other[at] else against[of_row[at]]
        finding = BadRow(
            "two-texts", f"the query id {row['query_id']!r} with another text than in {place}", "one text a query id"
        )
        _report(finding, row, faults)
    return table.filter(pa.array(~bad))


def _one_row_a_key(table: pa.Table, keys: pa.Table, rules: PairRules, faults: Faults) -> pa.Table:
    wanted = set(zip(keys.column("query_id").to_pylist(), keys.column("doc_id").to_pylist(), strict=True))
    maybe = pc.is_in(table.column("doc_id"), keys.column("doc_id")).to_numpy(zero_copy_only=False)
    rows_of: dict[tuple[str, str], list[int]] = {}
    for at in np.flatnonzero(maybe).tolist():
        key = (table.column("query_id")[at].as_py(), table.column("doc_id")[at].as_py())
        if key in wanted:
            rows_of.setdefault(key, []).append(at)
    bad = np.zeros(table.num_rows, dtype=bool)
    for (query_id, doc_id), rows in rows_of.items():
        labels = [(at, table.column("label")[at].as_py(), _place(table, at)) for at in rows]
        for at, _, _, finding, chosen in repeated_rows(query_id, doc_id, labels, rules.repeated):
            bad[at] = True
            _report(finding, _row(table, at), faults, chosen)
    return table.filter(pa.array(~bad))


def _without(table: pa.Table, bad: pa.ChunkedArray, faults: Faults, explain: Callable[[dict], BadRow]) -> pa.Table:
    """`table` without the rows where `bad` is true, each reported."""
    mask = pc.fill_null(bad, False)
    if not pc.any(mask, min_count=0).as_py():
        return table
    for at in np.flatnonzero(mask.to_numpy()).tolist():
        row = _row(table, at)
        _report(explain(row), row, faults)
    return table.filter(pc.invert(mask))


def _report(bad: BadRow, row: dict, faults: Faults, chosen: bool = False) -> None:
    where = f"{row['file']}:{row['row']}"
    values = {name: value for name, value in row.items() if name not in ("file", "row") and value is not None}
    report = faults.set_aside if chosen else faults.add
    report(bad, where, "pairs", values, row["query_id"], row["doc_id"])


def _row(table: pa.Table, at: int) -> dict:
    return table.slice(at, 1).to_pylist()[0]


def _place(table: pa.Table, at: int) -> str:
    return f"{table.column('file')[at].as_py()}:{table.column('row')[at].as_py()}"


def _blank(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where a text is null, empty or only white space."""
    return pc.fill_null(pc.invert(pc.match_substring_regex(texts, r"[^\s]")), True)


def _off_scale(labels: pa.ChunkedArray, rules: PairRules) -> pa.ChunkedArray:
    grades = pa.array([float(grade) for grade in rules.scale.grades], pa.float64())
    if rules.whole_grades:
        return pc.and_(pc.is_valid(labels), pc.invert(pc.is_in(labels, grades)))
    return pc.or_(pc.less(labels, grades[0]), pc.greater(labels, grades[-1]))


def _no_id(row: dict, name: str) -> BadRow:
    noun = {"query_id": "query id", "doc_id": "document id"}[name]
    return BadRow("missing-id", f"no {noun}" if row[name] is None else f"the empty {noun} {row[name]!r}", f"a {noun}")


def _too_long(row: dict, name: str, limit: int) -> BadRow:
    return BadRow("text-too-long", f"{name} of {len(row[name]):,} characters", f"at most {limit:,} (max_text_chars)")


def _nul(row: dict, name: str) -> BadRow:
    return BadRow("nul-character", f"a NUL character in {name}, at {row[name].index(chr(0))}", "text without NUL")


def _bad_grade(value: float, scale: Scale) -> BadRow:
    return BadRow("bad-grade", f"the grade {value}", f"a number out of {list(scale.grades)}")


def _off(value: float, rules: PairRules) -> BadRow:
    least, most = rules.scale.grades[0], rules.scale.grades[-1]
    if least <= value <= most:
        return BadRow("out-of-scale", f"the human grade {value:g}", f"one of {list(rules.scale.grades)}")
    return BadRow("out-of-scale", f"the grade {value:g}", f"{least} to {most}, or another scale.grades")


def _negative(value: int) -> BadRow:
    return BadRow("wrong-type", f"query_frequency {value}", "a whole number, 0 or more")
