"""The embedded demo collection: documents from the running Python, questions and grades from this package."""

from __future__ import annotations

from relabel.demo.collection import (
    SPLITS,
    BeirSummary,
    Document,
    Grade,
    Question,
    build_collection,
    load_grades,
    load_questions,
    write_beir,
)

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
