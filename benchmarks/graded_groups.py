"""Tables for training benchmarks: groups of eight graded documents a query, real English, the same every time.

Passages of TREC DL 2019 and 2020 where RELABEL_DATA (else `../shared/data`) has them, else documents of the demo's
collection: those graded for a question, filled up with others as not relevant.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from relabel.records import LABELS, PAIRS, Scale
from relabel.scoring import document_text
from relabel.storage import Folder
from relabel.tables import TableWriter

#: Documents of a query.
GROUP = 8
SCALE = Scale((0, 1, 2, 3), 2)
YEARS = ("trec_dl19", "trec_dl20")


def write_graded(out: Folder, pairs: int, kind: Literal["labels", "pairs"] = "labels") -> str:
    """Write about `pairs` graded pairs in whole groups, the queries in turn; returns where the texts come from.

    Args:
        kind: of the table: `labels` trains a re-ranker, on degrees from 0 to 1; `pairs` a judge, on the grades.
    """
    data = Path(os.environ.get("RELABEL_DATA", "../shared/data"))
    here = all((data / year / "corpus.jsonl").exists() for year in YEARS)
    graded = [query for year in YEARS for query in _trec(data / year)] if here else _demo()
    random = np.random.default_rng(0)
    groups = []
    for query, documents in graded:
        order = random.permutation(len(documents))
        groups += [
            (place, query, [documents[number] for number in order[start : start + GROUP]])
            for place, start in enumerate(range(0, len(order) - GROUP + 1, GROUP))
        ]
    groups = sorted(groups, key=lambda group: group[0])[: max(1, pairs // GROUP)]
    rows = [
        _row(f"q{group}", number, query, document_text(*texts), SCALE.degree(grade) if kind == "labels" else grade)
        for group, (_, query, documents) in enumerate(groups)
        for number, (*texts, grade) in enumerate(documents)
    ]
    writer = TableWriter(out, kind, SCALE)
    writer.write(pa.Table.from_pylist(rows, schema={"labels": LABELS, "pairs": PAIRS}[kind]))
    writer.finish({})
    return "TREC DL 2019 and 2020" if here else "the demo's collection"


def _row(query_id: str, number: int, query: str, text: str, label: float) -> dict:
    fixed = {"label_source": "human", "original_source": "human", "weight": 1.0, "rule": "keep", "action": "kept"}
    about = {"query_id": query_id, "doc_id": f"{query_id}d{number}", "query": query, "title": "", "text": text}
    return fixed | about | {"label": label}


def _trec(folder: Path) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """Each query with its graded documents: title, text, grade."""
    documents, queries = (
        {row["_id"]: row for row in _lines(folder / name)} for name in ("corpus.jsonl", "queries.jsonl")
    )
    graded: dict[str, list] = {}
    for line in (folder / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]:
        query_id, doc_id, grade = line.split("\t")
        document = documents[doc_id]
        graded.setdefault(query_id, []).append((document.get("title", ""), document["text"], int(grade)))
    return [(queries[query_id]["text"], found) for query_id, found in graded.items()]


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _demo() -> list[tuple[str, list[tuple[str, str, int]]]]:
    from relabel.demo.collection import build_collection
    from relabel.demo.questions import load_grades, load_questions

    documents = {one.doc_id: one for one in build_collection()}
    random = np.random.default_rng(0)
    graded: dict[str, list] = {question.query_id: [] for question in load_questions()}
    for one in load_grades():
        if document := documents.get(one.doc_id):
            graded[one.query_id].append((document.title, document.text, one.grade))
    others = list(documents.values())
    for found in graded.values():
        for number in random.integers(0, len(others), -len(found) % GROUP or GROUP):
            found.append((others[number].title, others[number].text, 0))
    return [(question.text, graded[question.query_id]) for question in load_questions()]
