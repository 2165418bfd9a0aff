"""Table folders: `part-*.parquet` beside `table.json`; streamed writing, streamed reading, one manifest.

`table.json` is written last, so a folder that has one is complete. Quarantined rows of the stage that wrote the table
lie in `quarantine/part-*.parquet` below it. Invariant: rows in = rows + quarantined, recorded in the manifest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from relabel.errors import InputError, LedgerError
from relabel.records import QUARANTINE, SCHEMAS, Scale, checked
from relabel.storage import Folder, parquet_file
from relabel.untrusted import record, safe_names

MANIFEST = "table.json"
#: Names of our own parts; other programs' parts that lie in the folder are not touched.
PART = re.compile(r"(^|/)part-\d{5,}\.parquet$")


@dataclass(frozen=True)
class Manifest:
    """What holds for a whole table.

    Attributes:
        kind: `pairs`, `judgements`, `labels` or `rankings`.
        rows: rows in the parts; `rows_in` = `rows` + `quarantined`.
        parts: file names, in reading order.
        scale: label or grade scale, where the table has one.
        about: facts of the stage that wrote it (source, judge id, rule, …), JSON values only.
    """

    kind: str
    rows_in: int
    rows: int
    quarantined: int
    parts: list[str]
    scale: Scale | None = None
    about: dict[str, Any] = field(default_factory=dict)


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    folder.write_json(MANIFEST, asdict(manifest) | {"scale": manifest.scale.to_json() if manifest.scale else None})


def read_manifest(folder: Folder, kind: str | None = None) -> Manifest:
    """The manifest of a complete table.

    Raises:
        InputError: where the folder is no complete table, or one of another kind than `kind`.
    """
    if not folder.exists(MANIFEST):
        raise InputError(folder.uri, "no table.json", f"a finished {kind or 'table'} folder", "run the stage before")
    values, address = folder.read_json(MANIFEST), f"{folder.uri}/{MANIFEST}"
    try:
        scale = Scale.from_json(values["scale"]) if values.get("scale") else None
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(address, f"a manifest that misses or adds keys ({error})", "one of ours") from None
    except InputError as error:
        raise InputError(address, f"a scale with {error.found}", error.wanted) from None
    manifest = record(Manifest, values | {"scale": scale}, address)
    safe_names(manifest.parts, address)
    if kind and manifest.kind != kind:
        raise InputError(folder.uri, f"a table of {manifest.kind}", f"a table of {kind}")
    return manifest


def read_parts(
    folder: Folder, kind: str, columns: list[str] | None = None, batch_rows: int = 8192
) -> Iterator[pa.Table]:
    """Stream a finished table in order as checked Arrow tables of at most `batch_rows` rows.

    Raises:
        InputError: for a part that is missing, is no Parquet or lacks a column.
        LedgerError: at the end, where the parts do not hold as many rows as the manifest counts.
    """
    schema = SCHEMAS[kind] if columns is None else pa.schema([SCHEMAS[kind].field(name) for name in columns])
    manifest, rows = read_manifest(folder, kind), 0
    for part in manifest.parts:
        address = f"{folder.uri}/{part}"
        with folder.open(part) as stream:
            for batch in parquet_file(stream, address).iter_batches(batch_rows, columns=schema.names):
                rows += batch.num_rows
                yield checked(pa.Table.from_batches([batch]), schema, address)
    if rows != manifest.rows:
        raise LedgerError(folder.uri, f"{rows} rows in its parts", f"the {manifest.rows} rows that table.json counts")


def read_whole(folder: Folder, kind: str, columns: list[str] | None = None) -> pa.Table:
    """A whole table in memory; for tables that are known to be small."""
    schema = SCHEMAS[kind] if columns is None else pa.schema([SCHEMAS[kind].field(name) for name in columns])
    return pa.concat_tables([schema.empty_table(), *read_parts(folder, kind, columns)]).combine_chunks()


def keys_of(table: pa.Table) -> list[tuple[str, str]]:
    """(query id, document id) of every row."""
    return list(zip(table["query_id"].to_pylist(), table["doc_id"].to_pylist(), strict=True))


def rows_by_key(wanted: pa.Table, table: pa.Table) -> np.ndarray:
    """For each row of `wanted` the row of `table` with its key, int64 [rows]; −1 where there is none."""
    row = {key: place for place, key in enumerate(keys_of(table))}
    return np.array([row.get(key, -1) for key in keys_of(wanted)], np.int64)


def counted(values: pa.ChunkedArray) -> dict[Any, int]:
    """How often each value occurs, in the order of its first row."""
    return {row["values"]: row["counts"] for row in values.value_counts().to_pylist()}


def quarantine_table(pairs: pa.Table, reasons: list[tuple[str, str] | None], source: str, stage: str) -> pa.Table:
    """Quarantine rows for those pairs of a stage that have a reason; `source` is file:first row."""
    file, _, first = source.rpartition(":")
    bad = [row for row, reason in enumerate(reasons) if reason]
    rows = pairs.take(bad).to_pylist() if bad else []
    return pa.table(
        {
            "stage": [stage] * len(bad),
            "source": [f"{file}:{int(first) + row}" for row in bad],
            "query_id": [row["query_id"] for row in rows],
            "doc_id": [row["doc_id"] for row in rows],
            "reason": [reasons[row][0] for row in bad],
            "detail": [reasons[row][1] for row in bad],
            "row": [json.dumps(row, ensure_ascii=False) for row in rows],
        },
        schema=QUARANTINE,
    )


def clear_table(folder: Folder) -> None:
    """Remove a table's manifest, parts and quarantine, and nothing else that lies in the folder."""
    folder.remove(MANIFEST)
    parts = folder.names("part-", ".parquet") + [
        f"quarantine/{name}" for name in (folder / "quarantine").names("part-", ".parquet")
    ]
    for name in filter(PART.search, parts):
        folder.remove(name)


class TableWriter:
    """Writes a table in parts of bounded size; `finish` writes the manifest, so an aborted table stays incomplete.

    A table that is there already stays until the first part of the new one is written.

    Example:
        >>> writer = TableWriter(Folder(out), "pairs", scale)
        >>> writer.write(rows); writer.quarantine(bad_rows); writer.finish({"source": "beir"})
    """

    def __init__(self, folder: Folder, kind: str, scale: Scale | None = None, part_rows: int = 65_536):
        self.folder, self.kind, self.scale, self.part_rows = folder, kind, scale, part_rows
        self._cleared = False
        self._good = _PartBuffer(folder, SCHEMAS[kind], part_rows, "part", self._clear)
        self._bad = _PartBuffer(folder, SCHEMAS["quarantine"], part_rows, "quarantine/part", self._clear)

    def write(self, rows: pa.Table) -> None:
        self._good.add(checked(rows, SCHEMAS[self.kind], self.folder.uri))

    def quarantine(self, rows: pa.Table) -> None:
        self._bad.add(checked(rows, SCHEMAS["quarantine"], f"{self.folder.uri}/quarantine"))

    def finish(self, about: dict[str, Any] | None = None) -> Manifest:
        """Flush, write the manifest, return it."""
        self._clear()
        self._good.flush()
        self._bad.flush()
        rows, bad = self._good.rows, self._bad.rows
        manifest = Manifest(self.kind, rows + bad, rows, bad, self._good.parts, self.scale, about or {})
        write_manifest(self.folder, manifest)
        return manifest

    def _clear(self) -> None:
        if not self._cleared:
            self._cleared = True
            clear_table(self.folder)


class _PartBuffer:
    def __init__(self, folder: Folder, schema: pa.Schema, part_rows: int, stem: str, before: Callable[[], None]):
        self.folder, self.schema, self.part_rows, self.stem, self.before = folder, schema, part_rows, stem, before
        self.rows, self.parts = 0, []
        self._pending: list[pa.Table] = []
        self._pending_rows = 0

    def add(self, rows: pa.Table) -> None:
        while rows.num_rows:
            taken = rows.slice(0, self.part_rows - self._pending_rows)
            rows = rows.slice(taken.num_rows)
            self._pending.append(taken)
            self._pending_rows += taken.num_rows
            if self._pending_rows == self.part_rows:
                self.flush()

    def flush(self) -> None:
        if not self._pending_rows:
            return
        self.before()
        name = f"{self.stem}-{len(self.parts):05d}.parquet"
        self.folder.write_table(name, pa.concat_tables(self._pending))
        self.parts.append(name)
        self.rows += self._pending_rows
        self._pending, self._pending_rows = [], 0
