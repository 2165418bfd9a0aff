"""Rows of pairs and labels tables as the writers of other formats take them: one grade on one scale, training texts."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow.compute as pc

from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import read_parts

_COLUMNS = {
    "pairs": ["query_id", "doc_id", "query", "title", "text", "label"],
    "labels": ["query_id", "doc_id", "query", "title", "text", "label", "weight"],
}


class Row(NamedTuple):
    """A labelled pair: `grade` is a whole grade of the export's scale, `degree` the relevance in [0, 1] behind it."""

    query_id: str
    doc_id: str
    query: str
    title: str
    text: str
    grade: int
    degree: float

    @property
    def passage(self) -> str:
        """Title and text as models read them: two lines, or the text alone."""
        return f"{self.title}\n{self.text}" if self.title else self.text


def labelled_rows(folder: Folder, kind: str, scale: Scale, counts: Counter[str]) -> Iterator[Row]:
    """The rows of a table that have a label to train on, in order; the others are counted as `unlabelled`.

    Args:
        folder: a finished pairs or labels table.
        kind: which of the two.
        scale: pairs: the scale of their labels; labels: the scale that their degrees are put on.
        counts: gains `rows`, `unlabelled` and, where a label lies between two grades, `rounded`.
    """
    for table in read_parts(folder, kind, _COLUMNS[kind]):
        usable = pc.is_valid(table.column("label"))
        if kind == "labels":
            usable = pc.and_(usable, pc.greater(table.column("weight"), 0))
        kept = table.filter(usable)
        counts["unlabelled"] += table.num_rows - kept.num_rows
        for *values, label in zip(*(kept.column(name).to_pylist() for name in _COLUMNS["pairs"]), strict=True):
            degree = float(scale.degree(label)) if kind == "pairs" else label
            grade = nearest_grade(degree, scale)
            counts["rows"] += 1
            counts["rounded"] += not math.isclose(scale.degree(grade), degree, abs_tol=1e-6)
            yield Row(*values, grade, degree)


def nearest_grade(degree: float, scale: Scale) -> int:
    """The grade whose degree is nearest; the higher one of two as near."""
    return min(scale.grades, key=lambda grade: (round(abs(scale.degree(grade) - degree), 9), -grade))


def by_query(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of one query at a time; they lie together in every table."""
    for _, group in itertools.groupby(rows, key=lambda row: row.query_id):
        yield list(group)
