"""Rows of a shard set aside: quarantined with a reason, the shard's other rows worked on in one call.

Quarantined rows keep the order and the `file:row` that they have in the whole shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from relabel.ledger import Shard
from relabel.tables import quarantine_table

#: Row of a shard → reason and detail.
Reasons = dict[int, tuple[str, str]]
#: What a stage does with a shard: rows out, quarantined rows, facts.
Work = Callable[[pa.Table, Shard], tuple[pa.Table, pa.Table, dict[str, Any]]]


def set_aside(
    work: Work, reasons: Reasons, pairs: pa.Table, shard: Shard, stage: str
) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
    """What `work` gives for all rows of a shard but those with a reason, which are quarantined with it."""
    if not reasons:
        return work(pairs, shard)
    kept = [row for row in range(pairs.num_rows) if row not in reasons]
    rows, quarantined, facts = work(pairs.take(kept), shard)
    file, _, first = shard.source.rpartition(":")
    ours = quarantine_table(legible(pairs), [reasons.get(row) for row in range(pairs.num_rows)], shard.source, stage)
    places = [kept[int(source.rpartition(":")[2]) - int(first)] for source in quarantined["source"].to_pylist()]
    sources = pa.array([f"{file}:{int(first) + place}" for place in places], pa.string())
    place = quarantined.schema.get_field_index("source")
    quarantined = quarantined.set_column(place, quarantined.schema.field(place), sources)
    both = pa.concat_tables([quarantined, ours])
    order = sorted(range(both.num_rows), key=[*places, *sorted(reasons)].__getitem__)
    counts = facts.get("quarantined")
    if isinstance(counts, dict):
        for reason, _ in reasons.values():
            counts[reason] = counts.get(reason, 0) + 1
    return rows, both.take(order), facts


def unreadable(pairs: pa.Table) -> Reasons:
    """Rows with bytes that are no UTF-8, which other programs' Parquet files may hold."""
    try:
        pairs.validate(full=True)
        return {}
    except pa.ArrowInvalid:
        found: Reasons = {}
    for name, column in _texts(pairs):
        for row, value in enumerate(column):
            try:
                _ = value and value.decode()
            except UnicodeDecodeError as error:
                found.setdefault(row, ("invalid-utf8", f"{name}: {error}"))
    return found


def _texts(pairs: pa.Table) -> Iterable[tuple[str, list[bytes | None]]]:
    for name in pairs.column_names:
        if pa.types.is_string(pairs[name].type):
            yield name, pairs[name].cast(pa.binary()).to_pylist()


def legible(pairs: pa.Table) -> pa.Table:
    """The table with what is no UTF-8 backslash-escaped."""
    if not unreadable(pairs):
        return pairs
    for name, column in list(_texts(pairs)):
        text = [None if value is None else value.decode(errors="backslashreplace") for value in column]
        place = pairs.schema.get_field_index(name)
        pairs = pairs.set_column(place, pairs.schema.field(place), pa.array(text, pa.string()))
    return pairs
