"""Pairs out of jsonl: each line's values are of the right type or its row is a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from relabel.formats.checks import check_keys, encodable
from relabel.formats.faults import BadRow, Faults, shown
from relabel.formats.pair_rows import BATCH_ROWS, ROWS
from relabel.formats.source import Source
from relabel.records import PAIRS

_NUMBERS = {"label": float, "query_frequency": int, "first_stage_rank": int, "first_stage_score": float}


def json_tables(source: Source, name: str, faults: Faults) -> Iterator[pa.Table]:
    """The rows of one jsonl file as tables of ROWS."""
    rows: list[dict[str, Any]] = []
    for where, row in source.json_rows(name, "pairs", faults):
        try:
            rows.append(_pair(row) | {"file": name, "row": int(where.rsplit(":", 1)[1])})
        except BadRow as bad:
            faults.add(bad, where, "pairs", row, row.get("query_id"), row.get("doc_id"))
        if len(rows) == BATCH_ROWS:
            yield pa.Table.from_pylist(rows, schema=ROWS)
            rows = []
    if rows:
        yield pa.Table.from_pylist(rows, schema=ROWS)


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a pair out of one JSON object, of the right Python types."""
    check_keys(row, PAIRS.names)
    values = {}
    for name in PAIRS.names:
        value = row.get(name)
        if value is None:
            values[name] = None
        elif name in _NUMBERS:
            values[name] = _number(name, value)
        elif name in ("query_id", "doc_id") and isinstance(value, int) and not isinstance(value, bool):
            values[name] = str(value)
        elif not isinstance(value, str):
            raise BadRow("wrong-type", f"{name} {shown(value)} ({type(value).__name__})", "a string")
        else:
            values[name] = encodable(value, name)
    return values


def _number(name: str, value: Any) -> float | int:
    allowed = (int,) if _NUMBERS[name] is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        reason = "bad-grade" if name == "label" else "wrong-type"
        wanted = "a whole number" if allowed == (int,) else "a number"
        raise BadRow(reason, f"{name} {shown(value)} ({type(value).__name__})", wanted)
    limit = 2**31 if name == "first_stage_rank" else 2**63
    if allowed == (int,) and not -limit <= value < limit:
        raise BadRow("wrong-type", f"{name} {value}", "a number of at most 31 bits" if limit == 2**31 else "63 bits")
    try:
        return value if allowed == (int,) else float(value)
    except OverflowError:
        raise BadRow("bad-grade" if name == "label" else "wrong-type", f"{name} {shown(value)}", "a number") from None
