"""TREC: qrels of four columns, with queries and documents as tab-separated text; each plain or gzip.

`qrels.<split>.txt`, `qrels.txt`, `qrels.tsv` or `qrels`: query id, iteration, document id, grade, separated by blanks.
`queries.tsv` or `topics.tsv`: id, text. `documents.tsv`, `collection.tsv` or `corpus.tsv`: id, text, or id, title,
text. No header rows.
"""

from __future__ import annotations

import itertools
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


def _word(identity: str) -> str:
    if any(sign.isspace() for sign in identity):
        raise InputError(
            f"the id {identity!r}", "a blank in an id", "ids without blanks: TREC separates columns by them"
        )
    return identity


READER = Reader("trec", read, GRADED)
