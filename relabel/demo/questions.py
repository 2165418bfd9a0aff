"""The demo's questions in plain user language and the grades of their pooled documents, as checked in.

`questions.tsv`: id, split, area, question. `grades.tsv`: query_id, doc_id, grade (0–3). README.md says how
both were made and how far the grades can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

SPLITS = ("judge", "train", "calibration", "test")


@dataclass(frozen=True)
class Question:
    """One query; `split` is one of SPLITS, `area` a broad topic such as "files"."""

    query_id: str
    split: str
    area: str
    text: str


@dataclass(frozen=True)
class Grade:
    """One assessor's grade of a document for a query: 3 direct answer, 2 helps, 1 related, 0 unrelated."""

    query_id: str
    doc_id: str
    grade: int


def load_questions() -> list[Question]:
    """The questions, in file order."""
    return [Question(*row) for row in _rows("questions.tsv")]


def load_grades() -> list[Grade]:
    """The grades, in file order: by question, best grade first."""
    return [Grade(query_id, doc_id, int(grade)) for query_id, doc_id, grade in _rows("grades.tsv")]


def _rows(file_name: str) -> list[list[str]]:
    text = resources.files("relabel.demo").joinpath(file_name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]
