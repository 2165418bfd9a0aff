"""Which written queries are kept, and what they are near but not relevant to: cosines of a bi-encoder decide.

Kept: cosine of a query and its own document ≥ `least_similarity` (a threshold in place of the round trip of
Promptagator, Dai et al. 2022, arXiv:2209.11755, which asks for a rank and depends on the size of the collection).
Near: for each document the queries closest to its own, of those that are `margin` less close to the document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

#: Rows of a block of the similarity matrix.
BLOCK = 256
#: Closest queries that are put in order at once; the others only where these do not suffice.
CLOSEST = 64


class Selection(NamedTuple):
    """Rows that are kept, ascending int64 [kept]; the near ones as (document, query) row numbers."""

    kept: np.ndarray
    near: list[tuple[int, int]]


def selected(
    queries: np.ndarray, documents: np.ndarray, same: Sequence[int], least_similarity: float, near: int, margin: float
) -> Selection:
    """Row i of both is a query and its own document.

    Args:
        queries, documents: unit vectors [rows, dimensions].
        same: a number for each different text of a query [rows].
        near: queries a document, at most.

    Memory is `BLOCK` × rows numbers, time rows² × dimensions.
    """
    own = np.einsum("ij,ij->i", queries, documents)
    kept = np.flatnonzero(own >= least_similarity)
    queries, documents, same, own = queries[kept], documents[kept], np.asarray(same)[kept], own[kept]
    found: list[tuple[int, int]] = []
    for start in range(0, len(kept) if near else 0, BLOCK):
        block = slice(start, start + BLOCK)
        closeness = queries[block] @ queries.T
        closeness[documents[block] @ queries.T > own[block, None] - margin] = -np.inf
        closeness[same[block, None] == same[None]] = -np.inf
        for row, values in enumerate(closeness, start):
            taken: set[int] = set()
            for place in _by_closeness(values):
                if len(taken) == near or values[place] == -np.inf:
                    break
                if same[place] not in taken:
                    taken.add(int(same[place]))
                    found.append((int(kept[row]), int(kept[place])))
    return Selection(kept, found)


def _by_closeness(values: np.ndarray) -> Iterator[int]:
    """Places of the values in falling order, equal ones in the order of their places."""
    rest = np.arange(len(values))
    if len(values) > CLOSEST:
        least = -np.partition(-values, CLOSEST)[CLOSEST]
        above, rest = np.flatnonzero(values > least), np.flatnonzero(values <= least)
        yield from above[np.argsort(-values[above], kind="stable")].tolist()
    yield from rest[np.argsort(-values[rest], kind="stable")].tolist()
