"""TREC: qrels of four columns, with queries and documents as tab-separated text; each plain or gzip.

`qrels.<split>.txt`, `qrels.txt`, `qrels.tsv` or `qrels`: query id, iteration, document id, grade, separated by blanks.
`queries.tsv` or `topics.tsv`: id, text. `documents.tsv`, `collection.tsv` or `corpus.tsv`: id, text, or id, title,
text. No header rows. Runs have six columns (`RunLine`); they are read and written here, too.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from relabel.errors import InputError
from relabel.formats.export_rows import Row
from relabel.formats.faults import Faults
from relabel.formats.reader import GRADED, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.source import Source
from relabel.formats.text_file import text_file
from relabel.storage import Folder


class RunLine(NamedTuple):
    """One line of a ranked list."""

    system: str
    query_id: str
    doc_id: str
    rank: int
    score: float


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


def write_qrels(rows: Iterable[Row], out: Folder, counts: Counter[str]) -> None:
    """Write `qrels.txt`: query id, 0, document id, grade.

    Raises:
        InputError: for an id with a blank, which the format cannot hold.
    """
    with text_file(out, "qrels.txt") as file:
        for row in rows:
            file.line(f"{_word(row.query_id)} 0 {_word(row.doc_id)} {row.grade}")
    counts["qrels.txt"] = file.lines


def write_runs(lines: Iterable[RunLine], out: Folder, counts: Counter[str]) -> None:
    """Write `<system>.run`, one file a system: query id, Q0, document id, rank, score, system.

    The lines of a system must lie together. Signs that file names and the format do not take become `-`.

    Raises:
        InputError: for an id with a blank.
    """
    for system, group in itertools.groupby(lines, key=lambda line: line.system):
        tag = re.sub(r"[^A-Za-z0-9._-]+", "-", system).strip("-") or "run"
        name = f"{tag}.run"
        if name in counts:
            raise InputError(name, f"two systems of that file name, or {system!r} in two places", "one file a system")
        with text_file(out, name) as file:
            for line in group:
                file.line(f"{_word(line.query_id)} Q0 {_word(line.doc_id)} {line.rank} {line.score!r} {tag}")
        counts[name] = file.lines


def read_run(uri: str) -> Iterator[RunLine]:
    """The lines of a run file: query id, Q0, document id, rank, score, system, separated by blanks; plain or gzip.

    Raises:
        InputError: for a missing file, another number of columns, a rank or score that is no number, a document that
            comes twice for a query, or a file without a line; each names `file:row`.
    """
    source = Source(uri)
    if not source.single:
        raise InputError(uri, "a folder", "one TREC run file", "name the files")
    seen: dict[tuple[str, str], str] = {}
    faults = Faults(lambda rows: None, raises=True, fix="correct the row")
    for where, cells in source.cell_rows(source.single, "run", 6, faults, None):
        query_id, _, doc_id, rank, score, system = cells
        if (query_id, doc_id) in seen:
            found = f"the document {doc_id!r} again for the query {query_id!r}, after {seen[query_id, doc_id]}"
            raise InputError(where, found, "each document once a query")
        seen[query_id, doc_id] = where
        try:
            line = RunLine(system, query_id, doc_id, int(rank), float(score))
        except ValueError:
            raise InputError(where, f"the rank {rank!r} and the score {score!r}", "numbers") from None
        if not math.isfinite(line.score):
            raise InputError(where, f"the score {score!r}", "a finite number")
        yield line
    if not seen:
        raise InputError(uri, "an empty file", "a TREC run")


def _word(identity: str) -> str:
    if any(sign.isspace() for sign in identity):
        raise InputError(
            f"the id {identity!r}", "a blank in an id", "ids without blanks: TREC separates columns by them"
        )
    return identity


READER = Reader("trec", read, GRADED)
