"""What happens to a row that cannot be used: one error that names it, or one quarantined row with its reason.

Readers and checks report to `Faults`, which either raises (`on_bad: error`) or turns the report into a row of the
quarantine table (`on_bad: quarantine`). Damage to a whole file (missing, cut off, wrong columns) always raises, since
nobody can count the rows that it hides. Invariant: every reported row is counted once, by reason and by kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from relabel.errors import InputError
from relabel.records import QUARANTINE

#: Reason words of the quarantine table, and what each means.
REASONS = {
    "bad-encoding": "bytes that are no UTF-8, or half of a surrogate pair",
    "bad-json": "a line that is no JSON object",
    "bad-xml": "a file that is no well-formed XML of the wanted kind",
    "bad-columns": "a line with too few or too many columns",
    "wrong-type": "a value of a type that the column does not allow",
    "missing-id": "no query or document id, or an empty one",
    "empty-text": "a query without text, or a document with neither title nor text",
    "nul-character": "a NUL character inside a text or id",
    "text-too-long": "a text of more than max_text_chars characters",
    "bad-grade": "a grade that is no finite number",
    "out-of-scale": "a grade that the scale does not have",
    "missing-query": "a label for a query that the dataset does not hold",
    "missing-document": "a label for a document that the dataset does not hold",
    "duplicate-id": "an id that came before with the same text",
    "two-texts": "an id that came before with another text; all rows of the id are set aside",
    "duplicate-key": "a (query_id, doc_id) that came before with the same label",
    "conflicting-labels": "a (query_id, doc_id) with different labels; all its rows are set aside",
    "repeated-judgement": "a (query_id, doc_id) judged again, where `repeated: highest` keeps the highest grade",
}

_SET_ASIDE = "correct the row, or set on_bad: quarantine to set such rows aside"
_BATCH_ROWS = 1024


class BadRow(Exception):
    """A finding about one row, raised by a check and reported by whoever knows the row's place."""

    def __init__(self, reason: str, found: str, wanted: str):
        super().__init__(reason, found, wanted)
        self.reason, self.found, self.wanted = reason, found, wanted


class Faults:
    """Raises at the first bad row, or collects bad rows as quarantine tables.

    Args:
        quarantine: takes tables of the QUARANTINE schema.
        raises: the first bad row is an error.
        fix: what that error says to do next, where the finding says nothing of its own.
    """

    def __init__(self, quarantine: Callable[[pa.Table], None], raises: bool, fix: str = _SET_ASIDE):
        self._quarantine, self._raises, self._fix = quarantine, raises, fix
        self._rows: list[dict[str, Any]] = []
        self.by_reason: Counter[str] = Counter()
        self.by_kind: Counter[str] = Counter()

    def rehearsal(self) -> Faults:
        """For a first pass over rows that are read again: raises as this one does, counts, and keeps nothing."""
        return Faults(lambda rows: None, self._raises, self._fix)

    @property
    def total(self) -> int:
        """Rows set aside so far."""
        return sum(self.by_reason.values())

    def add(
        self,
        bad: BadRow,
        where: str,
        kind: str,
        row: bytes | str | Mapping[str, Any],
        query_id: Any = None,
        doc_id: Any = None,
        fix: str = "",
    ) -> None:
        """Report one bad row of `kind` (queries, documents, labels, pairs, …), found at `where` (`file:row`).

        Raises:
            InputError: where bad rows are errors.
        """
        if self._raises:
            raise InputError(where, bad.found, bad.wanted, fix or self._fix)
        self.set_aside(bad, where, kind, row, query_id, doc_id)

    def set_aside(
        self,
        bad: BadRow,
        where: str,
        kind: str,
        row: bytes | str | Mapping[str, Any],
        query_id: Any = None,
        doc_id: Any = None,
    ) -> None:
        """Quarantine a row even where bad rows are errors: the recipe asked for it (`repeated: highest`)."""
        if bad.reason not in REASONS:
            raise KeyError(bad.reason)
        self.by_reason[bad.reason] += 1
        self.by_kind[kind] += 1
        self._rows.append(
            {
                "stage": "prepare",
                "source": _printable(where),
                "query_id": None if query_id is None else _printable(str(query_id)),
                "doc_id": None if doc_id is None else _printable(str(doc_id)),
                "reason": bad.reason,
                "detail": _printable(f"found {bad.found}; wanted {bad.wanted}"),
                "row": row_json(row),
            }
        )
        if len(self._rows) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand over the rows gathered so far."""
        if self._rows:
            self._quarantine(pa.Table.from_pylist(self._rows, schema=QUARANTINE))
        self._rows = []


def row_json(row: bytes | str | Mapping[str, Any]) -> str:
    """A row as JSON text; a line as `{"line": …}`, with bytes that are no UTF-8 backslash-escaped."""
    if isinstance(row, bytes):
        row = row.decode("utf-8", "backslashreplace")
    value = {"line": row} if isinstance(row, str) else dict(row)
    return _printable(json.dumps(value, ensure_ascii=False, default=str))


def shown(value: Any, limit: int = 60) -> str:
    """A value as an error message shows it: quoted, cut to `limit` characters."""
    text = repr(value[: limit + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= limit + 2 else f"{text[:limit]}…"


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
