"""Pairs as records, for a first stage that needs them as a collection: every row gives a query, a document, a label.

Without a first stage `prepare` streams pairs as Arrow tables instead, and no collection is made.
"""

from __future__ import annotations

from collections.abc import Iterator

from relabel.formats.faults import Faults
from relabel.formats.pairs import read_tables
from relabel.formats.reader import BINARY, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.source import Source


def read(source: Source, options: ReadOptions, faults: Faults) -> Iterator[Record]:
    """The records of a pairs dataset; ids must mean the same text in every row."""
    for table in read_tables(source, faults):
        for row in table.to_pylist():
            where = f"{row['file']}:{row['row']}"
            yield Query(where, row["query_id"], row["query"], row["query_frequency"], repeats=True)
            yield Document(where, row["doc_id"], row["title"], row["text"], repeats=True)
            yield Label(where, row["query_id"], row["doc_id"], row["label"], row["label_source"])


READER = Reader("pairs", read, BINARY)
