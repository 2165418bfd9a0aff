"""BEIR folders: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv` with a header; each plain or gzip.

Documents have `_id`, `text` and perhaps `title`; queries have `_id` and `text` (or another field, `query_field`).
Grades may be whole or decimal numbers.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing

from relabel.errors import InputError
from relabel.formats.checks import text_id
from relabel.formats.export_rows import Row, by_query
from relabel.formats.faults import Faults, shown
from relabel.formats.reader import BINARY, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.source import Source
from relabel.formats.text_file import text_file
from relabel.storage import Folder

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


def write(rows: Iterable[Row], out: Folder, counts: Counter[str], split: str) -> None:
    """Write `queries.jsonl`, `corpus.jsonl` and `qrels/<split>.tsv`; each query and document once.

    Raises:
        InputError: for a document id that has different texts in different rows, which the format cannot hold.
    """
    with (
        tempfile.TemporaryDirectory(prefix="relabel-export-") as directory,
        closing(sqlite3.connect(f"{directory}/seen.sqlite", isolation_level=None)) as seen,
        text_file(out, "queries.jsonl") as queries,
        text_file(out, "corpus.jsonl") as corpus,
        text_file(out, f"qrels/{split}.tsv") as qrels,
    ):
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "BEGIN"):
            seen.execute(statement)
        seen.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, key TEXT) WITHOUT ROWID")
        qrels.line("\t".join(HEADER))
        for group in by_query(rows):
            queries.json({"_id": group[0].query_id, "text": group[0].query})
            for row in group:
                if _is_new(seen, row):
                    corpus.json({"_id": row.doc_id, "title": row.title, "text": row.text})
                qrels.line(f"{row.query_id}\t{row.doc_id}\t{row.grade}")
    counts |= {"queries.jsonl": queries.lines, "corpus.jsonl": corpus.lines, f"qrels/{split}.tsv": qrels.lines - 1}


def _is_new(seen: sqlite3.Connection, row: Row) -> bool:
    key = text_id("d", row.title, row.text)
    if seen.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (row.doc_id, key)).rowcount:
        return True
    if seen.execute("SELECT key FROM documents WHERE id = ?", (row.doc_id,)).fetchone()[0] != key:
        where = f"the document id {row.doc_id!r} of the query {row.query_id!r}"
        raise InputError(where, "another text than in a row before", "one text a document id", "export groups instead")
    return False


READER = Reader("beir", read, BINARY)
