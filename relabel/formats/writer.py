"""What an output format is to `export`: the tables it can be made from, and a function that writes one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow.compute as pc

from relabel.formats.export_rows import Row, labelled_rows
from relabel.formats.trec import RunLine
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import read_parts


@dataclass(frozen=True)
class ExportJob:
    """One table to be written in one format.

    Attributes:
        table: the finished table; `kind` is what it holds.
        out: where the files go.
        scale: the grades of the files.
        split: the name of the judgements (BEIR).
        negatives: negatives a line (sentence-transformers groups).
        counts: lines by file, rows, and rows left out by reason.
    """

    table: Folder
    kind: str
    out: Folder
    scale: Scale
    split: str
    negatives: int
    counts: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Iterator[Row]:
        """The labelled rows of a pairs or labels table."""
        return labelled_rows(self.table, self.kind, self.scale, self.counts)

    def run_lines(self) -> Iterator[RunLine]:
        """The ranked lists of a rankings table, or the first stage's of a pairs table."""
        if self.kind == "rankings":
            for table in read_parts(self.table, "rankings"):
                yield from (RunLine(*row.values()) for row in table.to_pylist())
            return
        columns = ["query_id", "doc_id", "first_stage_rank", "first_stage_score"]
        for table in read_parts(self.table, "pairs", columns):
            ranked = table.filter(pc.is_valid(table.column("first_stage_rank")))
            self.counts["unranked"] += table.num_rows - ranked.num_rows
            for query_id, doc_id, rank, score in zip(*ranked.to_pydict().values(), strict=True):
                yield RunLine("first-stage", query_id, doc_id, rank, float(-rank) if score is None else score)


@dataclass(frozen=True)
class Writer:
    """One output format.

    Attributes:
        name: as `--format` spells it.
        kinds: the tables it can be made from.
        write: writes the files of a job and counts their lines.
    """

    name: str
    kinds: tuple[str, ...]
    write: Callable[[ExportJob], None]
