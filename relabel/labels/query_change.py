"""How much of each query a rule changed: a histogram over queries, and the most changed of them.

Invariant: memory is bounded by the number of shards. The rows of a query are contiguous, so only the first and last
query of a shard can go on in another shard; those are kept open by id, all others are counted at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.labels.examples import clipped

#: Tenths of the share of a query's rows that changed; the first bin is exactly none, the last exactly all.
SHARE_BINS = ("0", *(f"≤{tenth / 10:.1f}" for tenth in range(1, 10)), "<1", "1")
MOST_CHANGED = 20


@dataclass(frozen=True)
class QueryChange:
    """Rows of one query and how many of them changed."""

    query_id: str
    query: str
    rows: int
    changed: int

    @property
    def order(self) -> tuple:
        """Most changed first: by share, then by rows changed, then by id."""
        return (-self.changed / self.rows, -self.changed, self.query_id)

    def __add__(self, other: QueryChange) -> QueryChange:
        return QueryChange(self.query_id, self.query, self.rows + other.rows, self.changed + other.changed)

    def to_json(self) -> dict:
        share = round(self.changed / self.rows, 6)
        return {"query_id": self.query_id, "query": self.query, "rows": self.rows, "changed": self.changed,
                "share_changed": share}  # fmt: skip


@dataclass(frozen=True)
class QueryCounts:
    """Queries of one or more shards.

    Attributes:
        closed: histogram over `SHARE_BINS` of the queries that lie inside one shard.
        most_changed: the most changed of these.
        edges: first and last query of each shard, by id; they may go on in another shard.
    """

    closed: Counter = field(default_factory=Counter)
    most_changed: tuple[QueryChange, ...] = ()
    edges: dict[str, QueryChange] = field(default_factory=dict)

    @classmethod
    def of(cls, query_ids: pa.ChunkedArray, queries: pa.ChunkedArray, changed: np.ndarray) -> QueryCounts:
        """Counts of one shard from its columns and which rows changed, bool [n]."""
        if not len(query_ids):
            return cls()
        encoded = query_ids.combine_chunks().dictionary_encode()
        codes, ids = encoded.indices.to_numpy(), encoded.dictionary
        rows = np.bincount(codes)
        moved = np.bincount(codes, weights=changed).astype(np.int64)
        first_row = np.zeros(len(rows), np.int64)
        first_row[codes[::-1]] = np.arange(len(codes))[::-1]

        def change(code: int) -> QueryChange:
            query = clipped(queries[int(first_row[code])].as_py())
            return QueryChange(ids[int(code)].as_py(), query, int(rows[code]), int(moved[code]))

        edges = {entry.query_id: entry for entry in map(change, np.unique(codes[[0, -1]]))}
        inside = np.setdiff1d(np.arange(len(rows)), codes[[0, -1]])
        bins = np.bincount(_bins(rows[inside], moved[inside]), minlength=len(SHARE_BINS))
        some = inside[moved[inside] > 0]
        keys = pa.table({"share": moved[some] / rows[some], "changed": moved[some], "id": ids.take(pa.array(some))})
        order = [("share", "descending"), ("changed", "descending"), ("id", "ascending")]
        top = pc.select_k_unstable(keys, MOST_CHANGED, order).to_numpy()
        return cls(
            closed=Counter({name: int(count) for name, count in zip(SHARE_BINS, bins, strict=True) if count}),
            most_changed=tuple(map(change, some[top])),
            edges=edges,
        )

    def __add__(self, other: QueryCounts) -> QueryCounts:
        both = {key: self.edges[key] + other.edges[key] for key in self.edges.keys() & other.edges.keys()}
        return QueryCounts(
            closed=self.closed + other.closed,
            most_changed=_most_changed(self.most_changed + other.most_changed),
            edges={**self.edges, **other.edges, **both},
        )

    def to_json(self) -> dict:
        histogram = self.closed + Counter(
            SHARE_BINS[int(_bins(np.array(change.rows), np.array(change.changed)))] for change in self.edges.values()
        )
        most = _most_changed((*self.most_changed, *self.edges.values()))
        return {
            "queries": sum(histogram.values()),
            "share_changed": list(SHARE_BINS),
            "histogram": [histogram[name] for name in SHARE_BINS],
            "most_changed": [change.to_json() for change in most if change.changed],
        }


def _bins(rows: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Number in `SHARE_BINS` of changed/rows, exact in integers."""
    return np.where(changed == rows, len(SHARE_BINS) - 1, -(-changed * 10 // rows))


def _most_changed(changes: tuple[QueryChange, ...]) -> tuple[QueryChange, ...]:
    return tuple(sorted(changes, key=lambda change: change.order)[:MOST_CHANGED])
