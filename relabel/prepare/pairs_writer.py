"""Writes the pairs table of `prepare` and counts what it writes: queries, labels by value, labels by source."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from relabel.errors import LedgerError
from relabel.records import PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import Manifest, TableWriter

UNLABELLED = "unlabelled"
_BATCH_ROWS = 4096


class PairsWriter:
    """A pairs table in the making; rows must come with those of a query together.

    Args:
        folder: where the table goes.
        scale: the grades of its labels.
    """

    def __init__(self, folder: Folder, scale: Scale):
        self._writer = TableWriter(folder, "pairs", scale)
        self._scale = scale
        self._rows: list[tuple] = []
        self._last_query: str | None = None
        self.quarantine = self._writer.quarantine
        self.rows = self.queries = 0
        self.sources: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()

    def add(self, row: tuple) -> None:
        """Add one row, its values in the order of PAIRS."""
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def add_table(self, rows: pa.Table) -> None:
        """Add many rows of PAIRS."""
        if not rows.num_rows:
            return
        self._writer.write(rows)
        self.rows += rows.num_rows
        ids = pc.unique(rows.column("query_id"))
        self.queries += len(ids) - (ids[0].as_py() == self._last_query)
        self._last_query = rows.column("query_id")[-1].as_py()
        for value, count in _counts(rows.column("label_source")):
            self.sources[value] += count
        for value, count in _counts(rows.column("label")):
            self.labels[self._label_name(value)] += count

    def label_source(self) -> str:
        """The source of all labels: one name, `mixed` where there are several, `unlabelled` where there is none."""
        self._flush()
        names = sorted(self.sources.keys() - {UNLABELLED})
        return names[0] if len(names) == 1 else "mixed" if names else UNLABELLED

    def finish(self, about: dict[str, Any], quarantined: int) -> Manifest:
        """Complete the table; `about` gains `queries`, `labels` and `label_sources`.

        Raises:
            LedgerError: where the table holds other numbers of rows than were written and set aside.
        """
        self._flush()
        about = about | {
            "queries": self.queries,
            "labels": dict(sorted(self.labels.items())),
            "label_sources": dict(sorted(self.sources.items())),
        }
        manifest = self._writer.finish(about)
        if (manifest.rows, manifest.quarantined) != (self.rows, quarantined):
            raise LedgerError(
                self._writer.folder.uri,
                f"{manifest.rows} rows and {manifest.quarantined} quarantined in the table",
                f"{self.rows} and {quarantined}, as counted on the way",
                "report this as a bug",
            )
        return manifest

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            self._rows = []
            arrays = [pa.array(values, field.type) for values, field in zip(columns, PAIRS, strict=True)]
            self.add_table(pa.table(arrays, schema=PAIRS))

    def _label_name(self, value: float | None) -> str:
        if value is None:
            return UNLABELLED
        return f"{value:g}" if value in self._scale.grades else "between grades"


def _counts(column: pa.ChunkedArray) -> list[tuple[Any, int]]:
    return [(row["values"], row["counts"]) for row in pc.value_counts(column).to_pylist()]
