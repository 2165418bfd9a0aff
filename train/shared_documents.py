"""Documents with several queries each: a judge reads the document once and grades it for all of them.

    rows of a document, one a pair → one row a document:
    title, text, queries, lowest, highest (allowed grades, indices into the prompt's), weights

A document's pairs come next to each other by its shuffling key. Queries of other documents may be added as pairs of the
lowest grade, and the text may be perturbed. Deterministic: both are functions of (seed, epoch, document).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from relabel.lineage import query_fingerprint
from train.shuffle import identity_hash

DOCUMENTS = pa.schema(
    [
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("queries", pa.list_(pa.string()), nullable=False),
        pa.field("lowest", pa.list_(pa.int64()), nullable=False),
        pa.field("highest", pa.list_(pa.int64()), nullable=False),
        pa.field("weights", pa.list_(pa.float32()), nullable=False),
    ]
)
#: The columns that have one value a query.
PER_QUERY = ("queries", "lowest", "highest", "weights")
#: How often queries are drawn anew where those drawn are labelled for the document.
DRAWS = 4


class OtherQueries:
    """Draws queries that have nothing to do with a document.

    Args:
        count: queries a document.
        weight: of each, where a labelled pair has 1.
        seed: with the document's text it decides the draw.

    Tell it every labelled pair with `know` first; none of those is drawn for its document.
    """

    def __init__(self, count: int, weight: float, seed: int):
        self.count, self.weight, self._seed = count, weight, seed
        self._queries: dict[str, str] = {}
        self._labelled: list[int] = []
        self._sorted: np.ndarray | None = None

    def know(self, row: dict) -> None:
        """One labelled pair: its query can be drawn for any document but this one."""
        if self.count:
            self._queries.setdefault(query_fingerprint(row["query"]), row["query"])
            self._labelled.append(_pair_hash(row["query"], row["title"], row["text"]))

    def draw(self, title: str, text: str) -> list[str]:
        """Different queries for one document, none labelled for it; fewer than `count` where there are not enough."""
        if not self.count:
            return []
        if self._sorted is None:
            self._texts, self._sorted = list(self._queries.values()), np.sort(np.array(self._labelled, np.uint64))
        random = np.random.default_rng(identity_hash(self._seed, "other queries", title, text))
        drawn: dict[str, None] = {}
        for place in random.integers(len(self._texts), size=DRAWS * self.count):
            query = self._texts[int(place)]
            if len(drawn) < self.count and not self._is_labelled(query, title, text):
                drawn[query] = None
        return list(drawn)

    def _is_labelled(self, query: str, title: str, text: str) -> bool:
        wanted = np.uint64(_pair_hash(query, title, text))
        place = int(np.searchsorted(self._sorted, wanted))
        return place < len(self._sorted) and self._sorted[place] == wanted


def document_hash(seed: int, epoch: int, row: dict) -> int:
    """The shuffling key that all pairs of one text have in common."""
    return identity_hash(seed, epoch, "document", row["title"], row["text"])


def gathered(rows: pa.Table, most: int, others: OtherQueries, perturbed: Callable[[dict], dict]) -> pa.Table:
    """The rows of `DOCUMENTS` for pairs in which those of a document lie next to each other.

    Args:
        rows: query, title, text, lowest, highest; a row a pair.
        most: pairs of one document in a row; what is more begins another row.
        others: what is added to each row.
        perturbed: makes a row another with the same grades, or leaves it.
    """
    found = []
    for group in _neighbours(rows.to_pylist(), most):
        title, text = group[0]["title"], group[0]["text"]
        added = others.draw(title, text)
        document = {
            "title": title,
            "text": text,
            "queries": [row["query"] for row in group] + added,
            "lowest": [row["lowest"] for row in group] + [0] * len(added),
            "highest": [row["highest"] for row in group] + [0] * len(added),
            "weights": [1.0] * len(group) + [others.weight] * len(added),
        }
        found.append(perturbed(document))
    return pa.Table.from_pylist(found, schema=DOCUMENTS)


def pair_rows(documents: pa.Table) -> list[dict]:
    """One row a pair again: document (row number), query, title, text, lowest, highest, weight."""
    return [
        {"document": number, "query": query, "title": row["title"], "text": row["text"]}
        | {"lowest": lowest, "highest": highest, "weight": weight}
        for number, row in enumerate(documents.to_pylist())
        for query, lowest, highest, weight in zip(*(row[name] for name in PER_QUERY), strict=True)
    ]


def _neighbours(rows: list[dict], most: int) -> Iterator[list[dict]]:
    group: list[dict] = []
    for row in rows:
        same = group and (row["title"], row["text"]) == (group[0]["title"], group[0]["text"])
        if group and (not same or len(group) == most):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _pair_hash(query: str, title: str, text: str) -> int:
    return identity_hash("pair", query_fingerprint(query), title, text)
