"""Pairs in query order: which queries there are, whether their rows lie together, and a sort on disk where they do not.

The first pass reads the ids alone and keeps about a hundred bytes a query; rows are never all in memory. The sort
writes rows to temporary files of whole queries in the order in which queries first appear, then reads file by file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.formats.pair_checks import query_starts
from relabel.formats.pair_rows import ROWS

_BUCKET_ROWS = 32_768
_MOST_BUCKETS = 256


@dataclass(frozen=True)
class QueryOrder:
    """The queries of a dataset.

    Attributes:
        rows: query id to (rank of its first row, rows), in the order of the input.
        contiguous: each query's rows lie together.
        unwanted: ids of queries whose text the caller does not want.
        total: rows read, those without a query id included.
    """

    rows: dict[str, tuple[int, int]]
    contiguous: bool
    unwanted: set[str]
    total: int


def query_order(tables: Iterable[pa.Table], wanted: Callable[[str], bool] | None) -> QueryOrder:
    """Read `query_id`, and `query` where `wanted` looks at texts, of all rows; the checks see to rows without id."""
    rows: dict[str, tuple[int, int]] = {}
    unwanted: set[str] = set()
    contiguous, last, total = True, None, 0
    for table in tables:
        total += table.num_rows
        table = table.filter(pc.is_valid(table.column("query_id")))
        starts = query_starts(table)
        ids = table.column("query_id").take(pa.array(starts)).to_pylist()
        texts = table.column("query").take(pa.array(starts)).to_pylist() if wanted else ids
        counts = np.diff(np.append(starts, table.num_rows)).tolist()
        for query_id, text, count in zip(ids, texts, counts, strict=True):
            rank, before = rows.get(query_id, (len(rows), 0))
            if wanted and not before and not wanted(text or ""):
                unwanted.add(query_id)
            contiguous &= not before or query_id == last
            rows[query_id] = (rank, before + count)
            last = query_id
    return QueryOrder(rows, contiguous, unwanted, total)


def sorted_by_query(tables: Iterable[pa.Table], order: QueryOrder) -> Iterator[pa.Table]:
    """All rows, those of a query together and in the order of the input; one table holds whole queries."""
    bucket_of = _buckets(order)
    with tempfile.TemporaryDirectory(prefix="relabel-prepare-") as directory:
        _spill(tables, order, bucket_of, Path(directory))
        for path in sorted(Path(directory).glob("*.arrow")):
            with pa.memory_map(str(path)) as stream:
                table = pa.ipc.open_stream(stream).read_all()
            places = table.column("rank").combine_chunks().to_numpy()
            yield table.drop_columns(["rank"]).take(pa.array(np.argsort(places, kind="stable")))


def whole_queries(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut so that no query is split between two tables; the rows of a query must lie together."""
    held: list[pa.Table] = []
    for table in tables:
        if not table.num_rows:
            continue
        start = int(query_starts(table)[-1])
        if start == 0 and held and held[-1].column("query_id")[-1].as_py() == table.column("query_id")[0].as_py():
            held.append(table)
            continue
        if start == 0 and held:
            yield pa.concat_tables(held)
            held = [table]
            continue
        if start:
            yield pa.concat_tables([*held, table.slice(0, start)])
        held = [table.slice(start)]
    if held:
        yield pa.concat_tables(held)


def _buckets(order: QueryOrder) -> np.ndarray:
    """Bucket of each query by rank: consecutive queries share one until it is full."""
    sizes = np.array([count for _, count in sorted(order.rows.values())], dtype=np.int64)
    return (np.cumsum(sizes) - sizes) // max(_BUCKET_ROWS, -(-int(sizes.sum()) // _MOST_BUCKETS))


def _spill(tables: Iterable[pa.Table], order: QueryOrder, bucket_of: np.ndarray, directory: Path) -> None:
    schema = ROWS.append(pa.field("rank", pa.int64()))
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    try:
        for table in tables:
            ids = table.column("query_id").combine_chunks().dictionary_encode()
            rank_of = np.array([order.rows[query_id][0] for query_id in ids.dictionary.to_pylist()], dtype=np.int64)
            ranks = rank_of[ids.indices.to_numpy()]
            table = table.append_column("rank", pa.array(ranks))
            buckets = bucket_of[ranks]
            for bucket in np.unique(buckets).tolist():
                if bucket not in writers:
                    writers[bucket] = pa.ipc.new_stream(str(directory / f"{bucket:08d}.arrow"), schema)
                writers[bucket].write_table(table.filter(pa.array(buckets == bucket)).cast(schema))
    finally:
        for writer in writers.values():
            writer.close()
