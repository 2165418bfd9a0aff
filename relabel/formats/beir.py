"""BEIR folders: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv` with a header; each plain or gzip.

Documents have `_id`, `text` and perhaps `title`; queries have `_id` and `text` (or another field, `query_field`).
Grades may be whole or decimal numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

from relabel.errors import InputError
from relabel.formats.faults import Faults, shown
from relabel.formats.reader import BINARY, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.source import Source

HEADER = ["query-id", "corpus-id", "score"]


def read(source: Source, options: ReadOptions, faults: Faults) -> Iterator[Record]:
    """The records of a BEIR folder.

    Raises:
        InputError: for a missing file or header.
    """
    queries, corpus = source.find("queries.jsonl"), source.find("corpus.jsonl")
    qrels = source.find(f"qrels/{options.split}.tsv")
    for where, row in source.json_rows(queries, "queries", faults):
        yield Query(where, row.get("_id"), row.get(options.query_field))
    for where, row in source.json_rows(corpus, "documents", faults):
        yield Document(where, row.get("_id"), row.get("title"), row.get("text"))
    _check_header(source, qrels)
    rows = source.cell_rows(qrels, "labels", 3, faults)
    for where, (query_id, doc_id, grade) in rows:
        if not where.endswith(":1"):
            yield Label(where, query_id, doc_id, grade)


def _check_header(source: Source, name: str) -> None:
    first = next(source.lines(name), (1, b""))[1].decode("utf-8", "replace")
    if first.split("\t") != HEADER:
        raise InputError(
            f"{name}:1",
            shown(first),
            f"the header {' '.join(HEADER)}, separated by tabs",
            "add this header as the first row",
        )


READER = Reader("beir", read, BINARY)
