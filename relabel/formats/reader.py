"""What a dataset format is to `prepare`: a function that yields records, and the scale that the format implies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from relabel.formats.faults import Faults
from relabel.formats.records import Record
from relabel.formats.source import Source
from relabel.records import Scale

BINARY = Scale((0, 1), relevant_from=1)
GRADED = Scale((0, 1, 2, 3), relevant_from=2)


@dataclass(frozen=True)
class ReadOptions:
    """Choices that some formats need.

    Attributes:
        split: which judgements of a dataset with several (BEIR `qrels/<split>.tsv`, TREC `qrels.<split>.txt`).
        query_field: which text of a query that has several (`text`, or `summary` in LiveQA-Med).
    """

    split: str = "test"
    query_field: str = "text"


@dataclass(frozen=True)
class Reader:
    """One dataset format.

    Attributes:
        name: as `--format` spells it.
        read: yields the dataset's queries, documents and labels in any order; reports bad rows.
        scale: grades where neither the recipe nor the dataset states any.
    """

    name: str
    read: Callable[[Source, ReadOptions, Faults], Iterator[Record]]
    scale: Scale
