"""Which rows a re-ranker is trained on, when: labels → groups of documents a query (judges: `graded_examples`).

    groups      query, documents list<string>, labels list<float>, weights list<float>, position

Streaming: one query at a time, rows of a query contiguous in the labels table (checked). Deterministic: every choice
is seeded by (seed, epoch, query). Rows with a null label or weight 0 are left out; whatever is left out is counted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from relabel.errors import ConfigError, InputError
from relabel.lineage import query_fingerprint
from relabel.scoring import document_text
from relabel.storage import Folder
from relabel.tables import read_manifest, read_parts
from train.shuffle import EpochFiles, Shuffler, identity_hash

GROUPS = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("documents", pa.list_(pa.string()), nullable=False),
        pa.field("labels", pa.list_(pa.float32()), nullable=False),
        pa.field("weights", pa.list_(pa.float32()), nullable=False),
    ]
)
#: Columns of a labels table that training reads.
TRAINED_COLUMNS = ["query_id", "query", "title", "text", "label", "weight"]

Grouping = Literal["per-query", "per-positive"]


@dataclass
class Split:
    """Queries of a table by their fingerprint: trained on, or held out for choosing the best step."""

    train: set[str] = field(default_factory=set)
    validation: set[str] = field(default_factory=set)

    @property
    def seen(self) -> set[str]:
        return self.train | self.validation


@dataclass(frozen=True)
class QueryRows:
    """The trainable rows of one query, and how many rows it had in all."""

    query_id: str
    query: str
    documents: list[str]
    labels: np.ndarray
    weights: np.ndarray
    rows: int


def split_queries(queries: set[str], fraction: float, most: int, seed: int, always_out: set[str]) -> Split:
    """Split fingerprints by hash: about `fraction` of them, at most `most`, are held out; `always_out` in any case."""
    share = min(fraction, most / max(1, len(queries)))
    held = {query for query in queries if identity_hash(seed, "validation", query) < share * 2**64}
    return Split(queries - held - always_out, held - always_out)


def query_texts(folder: Folder, kind: str) -> dict[str, str]:
    """query_id → fingerprint of every query; the one pass that checks that rows of a query are contiguous.

    Raises:
        InputError: naming the query whose rows are scattered.
    """
    fingerprints: dict[str, str] = {}
    current = None
    for table in read_parts(folder, kind, ["query_id", "query"]):
        for query_id, query in zip(table["query_id"].to_pylist(), table["query"].to_pylist(), strict=True):
            if query_id == current:
                continue
            if query_id in fingerprints:
                raise InputError(
                    f"{folder.uri}: query {query_id!r}",
                    "rows of this query in several places",
                    "all rows of a query next to each other",
                    "sort the table by query_id",
                )
            current = query_id
            fingerprints[query_id] = query_fingerprint(query)
    return fingerprints


def label_queries(labels: Folder) -> Iterator[QueryRows]:
    """The queries of a labels table in order, each with its trainable rows."""
    held: list[dict] = []
    for table in read_parts(labels, "labels", TRAINED_COLUMNS):
        for row in table.to_pylist():
            if held and row["query_id"] != held[0]["query_id"]:
                yield _query_rows(held)
                held = []
            held.append(row)
    if held:
        yield _query_rows(held)


def _query_rows(rows: list[dict]) -> QueryRows:
    usable = [row for row in rows if row["label"] is not None and row["weight"] > 0]
    return QueryRows(
        rows[0]["query_id"],
        rows[0]["query"],
        [document_text(row["title"], row["text"]) for row in usable],
        np.array([row["label"] for row in usable], np.float32),
        np.array([row["weight"] for row in usable], np.float32),
        len(rows),
    )


def grouped(
    labels: np.ndarray, group: int, grouping: Grouping, positive_from: float, random: np.random.Generator
) -> list[list[int]]:
    """Row numbers of the groups of one query in one epoch; empty where the query cannot be used.

    per-positive: for each positive one group: the positive first, then up to `group` − 1 negatives drawn without
    replacement. per-query: every document in one group of at most `group`; positives are dealt out first, and where
    there are fewer positives than groups they are used again, so that each group has one.

    Args:
        labels: relevance degrees [documents].
        positive_from: the degree from which a document is a positive.
    """
    order = random.permutation(len(labels))
    positives = [int(row) for row in order if labels[row] >= positive_from]
    negatives = [int(row) for row in order if labels[row] < positive_from]
    if grouping == "per-positive":
        if not negatives:
            return []
        return [
            [positive, *random.choice(negatives, min(group - 1, len(negatives)), replace=False).tolist()]
            for positive in positives
        ]
    if not len(labels):
        return []
    count = -(-len(labels) // group)
    if 0 < len(positives) < count:
        count = -(-len(negatives) // (group - 1))
    groups: list[list[int]] = [positives[start::count] for start in range(count)]
    if positives:
        for number in range(len(positives), count):
            groups[number].append(positives[number % len(positives)])
    for row in negatives:
        min(groups, key=len).append(row)
    return groups


@dataclass
class Written:
    """What supervision wrote for all epochs, and the counts of what it used and left out in the first."""

    epochs: list[EpochFiles]
    counts: dict[str, int]


def write_groups(
    labels: Folder,
    out: Folder,
    train_queries: set[str],
    *,
    loss_grouping: Grouping,
    group: int,
    epochs: int,
    batch: int,
    ranks: int,
    seed: int,
    lengths: Callable[[pa.Table], list[int]],
) -> Written:
    """Write the groups of every epoch below `out`: `epoch-<e>/rank-<r>/part-<n>.parquet`.

    Args:
        labels: a labels table.
        train_queries: fingerprints of the queries to train on.
        batch: queries (groups) of one step over all ranks.
        lengths: of many groups at once, by which batches are cut.

    Raises:
        ConfigError: where the groups of an epoch do not fill one batch.
    """
    manifest = read_manifest(labels, "labels")
    positive_from = manifest.about.get("relevant_degree", manifest.scale.relevant_degree if manifest.scale else 0.5)
    written, counts = [], Counter()
    for epoch in range(epochs):
        with Scratch() as scratch:
            shuffler = Shuffler(GROUPS, scratch, manifest.rows, lengths)
            seen: Counter = Counter()
            for query in label_queries(labels):
                if query_fingerprint(query.query) not in train_queries:
                    continue
                random = np.random.default_rng(identity_hash(seed, epoch, query.query_id))
                groups = grouped(query.labels, group, loss_grouping, positive_from, random)
                seen.update(queries=1, rows_left_out=query.rows - len(query.labels), rows=len(query.labels))
                seen["groups" if groups else "queries_unusable"] += max(1, len(groups))
                if alike := sum(len(set(query.labels[rows].tolist())) == 1 for rows in groups):
                    seen["groups_of_one_degree"] += alike  # a ranking loss learns nothing from them
                for number, rows in enumerate(groups):
                    shuffler.add(
                        {
                            "query": query.query,
                            "documents": [query.documents[row] for row in rows],
                            "labels": query.labels[rows],
                            "weights": query.weights[rows],
                        },
                        identity_hash(seed, epoch, query.query_id, number),
                    )
            written.append(shuffler.write(out / f"epoch-{epoch}", batch, ranks, identity_hash(seed, epoch)))
        counts = counts or seen
        check_filled(written[-1], batch, f"{seen['groups']} usable groups", "batch")
    return Written(written, dict(counts))


def check_filled(files: EpochFiles, batch: int, found: str, option: str) -> None:
    if not files.steps:
        raise ConfigError(option, f"{batch} with {found}", "at least one full batch", "choose a smaller batch")


class Scratch:
    """A temporary local folder, removed at the end."""

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix="relabel-shuffle-"))
        return self._path

    def __exit__(self, *_) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
