"""Pairs that carry their texts, streamed into the pairs table as Arrow tables; bounded memory, no Python time a row.

Two passes: the first reads the ids alone (`QueryOrder`), the second checks and writes. Where the rows of a query do not
lie together, the second sorts them on disk. Ids of documents may mean different texts for different queries here, since
each row carries its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.errors import LedgerError
from relabel.formats.faults import Faults
from relabel.formats.pair_checks import PairRules, clean_groups, clean_rows, query_starts
from relabel.formats.pair_order import QueryOrder, query_order, sorted_by_query, whole_queries
from relabel.formats.pairs import other_columns, read_tables
from relabel.formats.source import Source
from relabel.prepare.config import PrepareConfig
from relabel.prepare.pairs_writer import UNLABELLED, PairsWriter
from relabel.progress import watched
from relabel.records import PAIRS, Scale


def stream_pairs(
    config: PrepareConfig, source: Source, scale: Scale, faults: Faults, writer: PairsWriter, log: Callable[[str], None]
) -> dict[str, Any]:
    """Write all good rows of a pairs dataset; returns the funnel."""
    if left_out := other_columns(source):
        log(f"prepare: columns that pairs do not have are left out: {', '.join(left_out)}")
    order = _order(config, source, faults)
    if not order.contiguous:
        log(f"prepare: rows of a query do not lie together; sorting {order.total:,} rows on disk")
    rules = PairRules(scale, config.label_source == "human", config.max_text_chars, config.repeated)
    clean = (clean_rows(table, rules, faults) for table in read_tables(source, faults))
    grouped = whole_queries(clean) if order.contiguous else sorted_by_query(clean, order)
    unwanted = _unwanted(config, order)
    dropped = {"labels_of_other_queries": 0, "pairs_over_max_pairs_per_query": 0}

    def written() -> Iterator[int]:
        for table in grouped:
            table = clean_groups(table, rules, faults)
            wanted = _of_queries(table, unwanted)
            dropped["labels_of_other_queries"] += table.num_rows - wanted.num_rows
            sample = _sampled(wanted, config)
            dropped["pairs_over_max_pairs_per_query"] += wanted.num_rows - sample.num_rows
            writer.add_table(_as_pairs(sample, config.label_source))
            yield writer.rows

    watched(written(), "prepare", "pairs written", log)
    left_out_rows = sum(dropped.values())
    if order.total != writer.rows + left_out_rows + faults.total:
        found = f"{order.total} rows read, {writer.rows} written, {left_out_rows} left out, {faults.total} quarantined"
        raise LedgerError(source.uri, found, "counts that add up", "report this as a bug")
    return {
        "queries": {"read": len(order.rows), "kept": writer.queries},
        "labels": {"read": order.total, "kept": order.total - faults.total},
        "left_out": dropped,
    }


def _order(config: PrepareConfig, source: Source, faults: Faults) -> QueryOrder:
    columns = ("query_id", "query") if config.query_folds else ("query_id",)
    rehearsal = faults.rehearsal()
    order = query_order(read_tables(source, rehearsal, columns), config.in_folds if config.query_folds else None)
    return replace(order, total=order.total + rehearsal.total)


def _unwanted(config: PrepareConfig, order: QueryOrder) -> set[str]:
    in_folds = [query_id for query_id in order.rows if query_id not in order.unwanted]
    return order.unwanted | (set(in_folds) - config.choose(in_folds))


def _of_queries(table: pa.Table, unwanted: set[str]) -> pa.Table:
    if not unwanted or not table.num_rows:
        return table
    starts = query_starts(table)
    ids = table.column("query_id").take(pa.array(starts)).to_pylist()
    wanted = np.array([query_id not in unwanted for query_id in ids])
    return table.filter(pa.array(np.repeat(wanted, np.diff(np.append(starts, table.num_rows)))))


def _sampled(table: pa.Table, config: PrepareConfig) -> pa.Table:
    """The rows of whole queries, `max_pairs_per_query` of each at most."""
    if config.max_pairs_per_query is None or not table.num_rows:
        return table
    starts = query_starts(table)
    doc_ids, query_ids = (table.column(name).to_pylist() for name in ("doc_id", "query_id"))
    wanted = np.zeros(table.num_rows, bool)
    for start, end in zip(starts, np.append(starts[1:], table.num_rows), strict=True):
        sample = config.sample(query_ids[start], doc_ids[start:end])
        wanted[start:end] = [name in sample for name in doc_ids[start:end]]
    return table.filter(pa.array(wanted))


def _as_pairs(table: pa.Table, label_source: str) -> pa.Table:
    """The rows as PAIRS: by query, then first-stage rank, then document id; sources filled in."""
    if not table.num_rows:
        return PAIRS.empty_table()
    starts = query_starts(table)
    queries = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, table.num_rows)))
    keys = table.select(["first_stage_rank", "doc_id"]).append_column("query", pa.array(queries))
    order = pc.sort_indices(keys, [(name, "ascending") for name in ("query", "first_stage_rank", "doc_id")])
    if not np.array_equal(order.to_numpy(), np.arange(len(order))):
        table = table.take(order)
    given = table.column("label_source")
    stated = pc.and_(pc.is_valid(given), pc.invert(pc.equal(pc.utf8_trim_whitespace(given), "")))
    source = pc.if_else(
        pc.is_null(table.column("label")), UNLABELLED, pc.if_else(pc.fill_null(stated, False), given, label_source)
    )
    table = table.set_column(table.schema.get_field_index("label_source"), "label_source", source)
    return pa.table([table.column(field.name).cast(field.type) for field in PAIRS], schema=PAIRS)
