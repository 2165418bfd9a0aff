"""Files of grades without texts: qrels of one grader, or a wide table with one column a grader.

Three layouts, each plain or gzip: TREC qrels (query id, iteration, document id, grade, separated by blanks, no header);
BEIR qrels (tabs, header `query-id corpus-id score`); wide (tabs, header `query-id corpus-id NAME NAME …`), where an
empty cell means that this grader did not grade the pair. Grades are whole numbers. Invariants: no pair comes twice,
and every grade has a row to be named by.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from relabel.errors import InputError
from relabel.formats.beir import HEADER
from relabel.formats.faults import BadRow, Faults, shown
from relabel.formats.source import Source

#: A pair: (query id, document id).
Pair = tuple[str, str]


@dataclass(frozen=True)
class Grader:
    """What one grader said.

    Attributes:
        name: the column's, or the file's without its endings for qrels.
        where: address of the file, with the column of a wide table.
        grades: grade of each pair that was graded, in the order of the file.
        rows: `file:row` of each pair.
    """

    name: str
    where: str
    grades: dict[Pair, int]
    rows: dict[Pair, str]


def read_graders(uri: str) -> list[Grader]:
    """The graders of a qrels file or wide table, in the order of their columns.

    Args:
        uri: a local path or `s3://…` of one file.

    Raises:
        InputError: for a missing file, another layout, a pair that comes twice, or a grade that is no whole number.
    """
    source = Source(uri)
    if not source.single:
        raise InputError(uri, "a folder", "one file of grades (qrels, or a table with a column a grader)")
    file = source.single
    first = next(source.lines(file), (1, b""))[1].decode("utf-8", "replace")
    header, stem = first.split("\t"), posixpath.basename(file).removesuffix(".gz").rsplit(".", 1)[0]
    names = header[2:]
    wide = header[:2] == HEADER[:2] and header != HEADER and bool(names)
    if header == HEADER:
        graders, columns, skip = [Grader(stem, uri, {}, {})], 3, 1
    elif wide:
        _check_names(names, f"{file}:1")
        graders, columns, skip = [Grader(name, f"{uri}, column {name!r}", {}, {}) for name in names], len(header), 1
    elif len(first.split()) == 4:
        graders, columns, skip = [Grader(stem, uri, {}, {})], 4, 0
    else:
        raise InputError(
            f"{file}:1", shown(first), f"TREC qrels of four columns, or the header {' '.join(HEADER[:2])} and then "
            f"`score` or a name a grader, separated by tabs", "write this header as the first row",
        )  # fmt: skip
    seen: dict[Pair, str] = {}
    for where, pair, cells in _rows(source, file, columns, skip):
        if pair in seen:
            raise InputError(where, f"the pair {pair} again, after {seen[pair]}", "one row a pair", "keep one of them")
        seen[pair] = where
        for grader, cell in zip(graders, cells, strict=True):
            if cell or not wide:
                grader.grades[pair] = _whole(cell, where, grader.name)
                grader.rows[pair] = where
    return graders


def _rows(source: Source, file: str, columns: int, skip: int) -> Iterator[tuple[str, Pair, list[str]]]:
    """(`file:row`, pair, cells of grades) of every row behind the header."""
    faults = Faults(lambda rows: None, raises=True, fix="correct the row")
    rows = source.cell_rows(file, "labels", columns, faults, "\t" if skip else None)
    for number, (where, cells) in enumerate(rows):
        if number < skip:
            continue
        query_id, doc_id, grades = (cells[0], cells[1], cells[2:]) if skip else (cells[0], cells[2], cells[3:])
        if not query_id.strip() or not doc_id.strip():
            bad = BadRow("missing-id", f"an empty id in {shown(cells)}", "a query id and a document id")
            faults.add(bad, where, "labels", "\t".join(cells))
        yield where, (query_id, doc_id), [grade.strip() for grade in grades]


def _check_names(names: list[str], where: str) -> None:
    for place, name in enumerate(names):
        if not name.strip() or name in names[:place]:
            raise InputError(where, f"the column {name!r} {'again' if name.strip() else 'without a name'}",
                             "a name of its own for every grader")  # fmt: skip


def _whole(cell: str, where: str, column: str) -> int:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise InputError(
            where, f"{shown(cell)} in the column {column!r}", "a grade that is a whole number", "correct it"
        )
    return int(value)
