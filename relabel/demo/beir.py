"""The demo collection as a BEIR folder.

    FOLDER/corpus.jsonl        _id, title, text
    FOLDER/queries.jsonl       _id, text, metadata {split, area}
    FOLDER/qrels/SPLIT.tsv     query-id, corpus-id, score; SPLIT is judge, train, calibration or test

Invariant: every checked-in grade is either a row of its question's split or listed in `BeirSummary.missing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from relabel.demo.collection import build_collection
from relabel.demo.questions import SPLITS, Grade, load_grades, load_questions


@dataclass(frozen=True)
class BeirSummary:
    """What `write_beir` wrote; `missing` are the graded pairs whose document this Python does not have."""

    documents: int
    queries: dict[str, int]
    grades: dict[str, int]
    missing: tuple[Grade, ...]

    def __str__(self) -> str:
        splits = ", ".join(f"{s} {self.queries[s]} questions {self.grades[s]} grades" for s in SPLITS)
        return f"{self.documents} documents; {splits}; {len(self.missing)} graded pairs not in this Python"


def write_beir(folder: str | Path) -> BeirSummary:
    """Build the collection and write it with its questions and grades; existing files are replaced.

    A graded document that the running Python lacks is left out of the qrels and returned in `missing`.
    """
    folder = Path(folder)
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents, questions = build_collection(), load_questions()
    _write_json_lines(folder / "corpus.jsonl", ({"_id": d.doc_id, "title": d.title, "text": d.text} for d in documents))
    _write_json_lines(
        folder / "queries.jsonl",
        ({"_id": q.query_id, "text": q.text, "metadata": {"split": q.split, "area": q.area}} for q in questions),
    )
    known = {document.doc_id for document in documents}
    split_of = {question.query_id: question.split for question in questions}
    kept: dict[str, list[Grade]] = {split: [] for split in SPLITS}
    missing = []
    for grade in load_grades():
        (kept[split_of[grade.query_id]] if grade.doc_id in known else missing).append(grade)
    for split, grades in kept.items():
        rows = ["query-id\tcorpus-id\tscore", *(f"{g.query_id}\t{g.doc_id}\t{g.grade}" for g in grades)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    return BeirSummary(
        documents=len(documents),
        queries={split: sum(q.split == split for q in questions) for split in SPLITS},
        grades={split: len(grades) for split, grades in kept.items()},
        missing=tuple(missing),
    )


def _write_json_lines(path: Path, records: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
