"""Small labels and pairs tables whose right ranking can be learned from words alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relabel.lineage import query_fingerprint
from relabel.records import LABELS, PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import Manifest, TableWriter
from train.shared_documents import OtherQueries, gathered, pair_rows

GRADED = Scale((0, 1, 2, 3), relevant_from=2)
BINARY = Scale((0, 1), relevant_from=1)
TOPICS = (
    "apple",
    "river",
    "stone",
    "cloud",
    "engine",
    "paper",
    "window",
    "garden",
    "silver",
    "music",
    "winter",
    "tree",
)


def topic_pairs(queries: int = 12, documents: int = 8, seed: int = 0) -> list[dict]:
    """Rows of labelled pairs: a document says the query's topic as often as its grade 0–3, among other topics."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(queries):
        topic = TOPICS[number % len(TOPICS)]
        for place in range(documents):
            grade = place % 4
            others = random.choice([word for word in TOPICS if word != topic], 2 + int(random.integers(0, 12)))
            words = random.permutation([topic] * grade + others.tolist())
            rows.append(
                {
                    "query_id": f"q{number}",
                    "doc_id": f"q{number}d{place}",
                    "query": f"{topic} number {number}",
                    "title": topic if grade == 3 else "",
                    "text": " ".join(words) + ".",
                    "label": float(grade),
                }
            )
    return rows


def write_pairs(folder: Folder, rows: list[dict], scale: Scale = GRADED) -> Manifest:
    """A pairs table of human labels."""
    fixed = {"label_source": "human", "query_frequency": None, "first_stage_rank": None, "first_stage_score": None}
    writer = TableWriter(folder, "pairs", scale)
    writer.write(pa.Table.from_pylist([row | fixed for row in rows], schema=PAIRS))
    return writer.finish({})


def write_labels(folder: Folder, rows: list[dict], about: dict | None = None, part_rows: int = 65_536) -> Manifest:
    """A labels table from the same rows: degrees from the grades, weight 1 unless a row says otherwise."""
    fixed = {
        "query_frequency": None,
        "original_source": "given",
        "judge_grade": None,
        "judge_score": None,
        "judge_probabilities": None,
        "judge_id": None,
        "rule": "keep",
        "action": "kept",
    }
    full = [
        {"weight": 1.0, **row, **fixed, "original_label": row["label"]}
        | {"label": None if row["label"] is None else GRADED.degree(row["label"])}
        for row in rows
    ]
    writer = TableWriter(folder, "labels", GRADED, part_rows=part_rows)
    writer.write(pa.Table.from_pylist(full, schema=LABELS))
    return writer.finish(about or {})


def fingerprints(rows: list[dict]) -> set[str]:
    """The queries of rows as lineage knows them."""
    return {query_fingerprint(row["query"]) for row in rows}


def read_epoch(out: Folder, epoch: int = 0) -> pa.Table:
    """All training files of an epoch."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(out.uri).glob(f"epoch-{epoch}/**/*.parquet")))


def read_examples(out: Folder, epoch: int = 0) -> list[dict]:
    """All judge's examples of an epoch, a row a pair."""
    return pair_rows(read_epoch(out, epoch))


def by_document(examples: pa.Table, most: int = 1) -> pa.Table:
    """A judge's examples as its training files hold them: up to `most` of a document in a row."""
    return gathered(examples, most, OtherQueries(0, 1.0, 0), perturbed=lambda document: document)
