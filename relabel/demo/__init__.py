"""The embedded demo collection: documents from the running Python, questions and grades from this package."""

from __future__ import annotations

from relabel.demo.beir import BeirSummary, write_beir
from relabel.demo.collection import Document, build_collection
from relabel.demo.questions import SPLITS, Grade, Question, load_grades, load_questions

__all__ = [
    "SPLITS",
    "BeirSummary",
    "Document",
    "Grade",
    "Question",
    "build_collection",
    "load_grades",
    "load_questions",
    "write_beir",
]
