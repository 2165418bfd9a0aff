"""TREC: qrels of four columns, with queries and documents as tab-separated text; each plain or gzip.

`qrels.<split>.txt`, `qrels.txt`, `qrels.tsv` or `qrels`: query id, iteration, document id, grade, separated by blanks.
`queries.tsv` or `topics.tsv`: id, text. `documents.tsv`, `collection.tsv` or `corpus.tsv`: id, text, or id, title,
text. No header rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from relabel.formats.faults import Faults
from relabel.formats.reader import GRADED, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.source import Source


def read(source: Source, options: ReadOptions, faults: Faults) -> Iterator[Record]:
    """The records of a folder with TREC qrels.

    Raises:
        InputError: for a missing file.
    """
    queries = source.find("queries.tsv", "topics.tsv")
    documents = source.find("documents.tsv", "collection.tsv", "corpus.tsv")
    qrels = source.find(f"qrels.{options.split}.txt", "qrels.txt", "qrels.tsv", "qrels")
    for where, (query_id, text) in source.cell_rows(queries, "queries", 2, faults):
        yield Query(where, query_id, text)
    for where, (doc_id, *title, text) in source.cell_rows(documents, "documents", range(2, 4), faults):
        yield Document(where, doc_id, title[0] if title else "", text)
    for where, (query_id, _, doc_id, grade) in source.cell_rows(qrels, "labels", 4, faults, separator=None):
        yield Label(where, query_id, doc_id, grade)


READER = Reader("trec", read, GRADED)
