"""Pairs that carry their texts: Parquet or jsonl (plain or gzip), one file or a folder of them.

Columns: `query_id`, `doc_id` (strings or whole numbers), `query`, `text`; and perhaps `title`, `label` (a number),
`label_source`, `query_frequency`, `first_stage_rank`, `first_stage_score`. Other columns are left out, and said so.
A pairs table of ours is read in the order of its `table.json`. Files are read in the order of their names, as Arrow
tables of the columns above with `file` and `row` (counted from 1) for messages; nothing else is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relabel.errors import InputError
from relabel.formats.checks import encodable
from relabel.formats.faults import BadRow, Faults, shown
from relabel.formats.source import Source
from relabel.records import PAIRS, Scale
from relabel.tables import MANIFEST, read_manifest

REQUIRED = ("query_id", "doc_id", "query", "text")
#: Columns as read: those of PAIRS, nothing required yet, and where each row came from.
ROWS = pa.schema(
    [
        *(field.with_nullable(True) for field in PAIRS if field.name != "label"),
        pa.field("label", pa.float64()),
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
    ]
)
_BATCH_ROWS = 16_384
_READ_BYTES = 2 << 20
_NUMBERS = {"label": float, "query_frequency": int, "first_stage_rank": int, "first_stage_score": float}


def table_scale(source: Source) -> Scale | None:
    """The scale that a pairs table of ours states, None for other data."""
    if source.single or not source.folder.exists(MANIFEST):
        return None
    return read_manifest(source.folder, "pairs").scale


def other_columns(source: Source) -> list[str]:
    """Columns of the Parquet files that no pair has, so that they are left out."""
    names: set[str] = set()
    for name in _file_names(source):
        if name.endswith(".parquet"):
            names |= set(_parquet(source, name).schema_arrow.names)
    return sorted(names - set(PAIRS.names))


def read_tables(source: Source, faults: Faults, columns: tuple[str, ...] = ROWS.names) -> Iterator[pa.Table]:
    """The rows of all files as tables of `columns` out of ROWS, unchecked but for their types.

    Raises:
        InputError: for a file that lacks a required column or has one of a wrong type; where there is no file.
    """
    for name in _file_names(source):
        if name.endswith(".parquet"):
            yield from _parquet_tables(source, name, faults, columns)
        else:
            for table in _json_tables(source, name, faults):
                yield table.select(columns)


def _file_names(source: Source) -> list[str]:
    if source.single is None and source.folder.exists(MANIFEST):
        return read_manifest(source.folder, "pairs").parts
    names = [name for name in source.names() if name.removesuffix(".gz").endswith((".parquet", ".jsonl"))]
    if not names:
        found = source.single or "no .parquet, .jsonl or .jsonl.gz file"
        raise InputError(source.uri, found, "pairs as Parquet or jsonl, one file or a folder of files")
    return names


@contextmanager
def _whole_parquet(source: Source, name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        found = f"damaged Parquet ({' '.join(str(error).split())})"
        raise InputError(f"{source.folder.uri}/{name}", found, "a whole Parquet file", "copy it again") from None


def _parquet(source: Source, name: str) -> pq.ParquetFile:
    with _whole_parquet(source, name):
        # Read ahead by pages: `pre_buffer` would hold the file's bytes until its last row.
        return pq.ParquetFile(source.folder.open(name), pre_buffer=False, buffer_size=_READ_BYTES)


def _parquet_tables(source: Source, name: str, faults: Faults, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    parquet = _parquet(source, name)
    present = parquet.schema_arrow
    for required in REQUIRED:
        if required not in present.names:
            raise InputError(
                name, f"the columns {', '.join(present.names)}", f"a column {required!r}", "rename or add it"
            )
    for column in set(PAIRS.names) & set(present.names):
        _check_type(name, present.field(column))
    first = 1
    batches = parquet.iter_batches(_BATCH_ROWS, columns=[column for column in columns if column in present.names])
    while True:
        with _whole_parquet(source, name):
            batch = next(batches, None)
        if batch is None:
            return
        table = pa.Table.from_batches([batch])
        yield _typed(table, name, first, faults, columns)
        first += table.num_rows


def _check_type(name: str, field: pa.Field) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    whole = pa.types.is_integer(kind)
    number = whole or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    text = text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    wanted = {
        "query_id": ("strings or whole numbers", text or whole),
        "doc_id": ("strings or whole numbers", text or whole),
        "label": ("numbers", number),
        "query_frequency": ("whole numbers", whole),
        "first_stage_rank": ("whole numbers", whole),
        "first_stage_score": ("numbers", number),
    }.get(field.name, ("strings", text))
    if not wanted[1] and not pa.types.is_null(kind):
        raise InputError(f"{name}: column {field.name!r}", f"the type {field.type}", wanted[0], "convert the column")


def _typed(table: pa.Table, name: str, first: int, faults: Faults, columns: tuple[str, ...]) -> pa.Table:
    """`table` with the columns of ROWS, its rows counted from `first`; values that cannot be read are faults."""
    count = table.num_rows
    arrays, good = [], None
    for field in (ROWS.field(column) for column in columns):
        if field.name == "file":
            arrays.append(pa.repeat(pa.scalar(name), count))
        elif field.name == "row":
            arrays.append(pa.array(np.arange(first, first + count)))
        elif field.name not in table.column_names:
            arrays.append(pa.nulls(count, field.type))
        else:
            array, bad = _cast(table.column(field.name).combine_chunks(), field.type)
            arrays.append(array)
            for at, finding in bad.items():
                good = [True] * count if good is None else good
                if good[at]:
                    good[at] = False
                    faults.add(finding, f"{name}:{first + at}", "pairs", _row(table, at))
    typed = pa.table(arrays, schema=pa.schema([ROWS.field(column) for column in columns]))
    return typed if good is None else typed.filter(pa.array(good))


def _cast(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, dict[int, BadRow]]:
    """`array` as `kind`, and what is wrong with single values (which become null)."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        array.validate(full=True)
        return array.cast(kind), {}
    except pa.ArrowInvalid:
        return _cast_one_by_one(array, kind)


def _cast_one_by_one(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, dict[int, BadRow]]:
    values: list[Any] = []
    bad: dict[int, BadRow] = {}
    raw = array.cast(pa.binary()) if pa.types.is_string(array.type) or pa.types.is_large_string(array.type) else array
    for at in range(len(raw)):
        values.append(None)
        try:
            value = raw[at].as_py()
            values[at] = pa.scalar(value.decode() if isinstance(value, bytes) else value, kind).as_py()
        except UnicodeDecodeError as error:
            found = f"the byte 0x{error.object[error.start]:02x} at {error.start}, which is no UTF-8"
            bad[at] = BadRow("bad-encoding", found, "UTF-8")
        except (pa.ArrowInvalid, OverflowError) as error:
            bad[at] = BadRow("wrong-type", f"{shown(value)} ({error})", str(kind))
    return pa.array(values, kind), bad


def _row(table: pa.Table, at: int) -> dict[str, Any]:
    """A row for the quarantine, bytes that are no UTF-8 backslash-escaped."""
    row = {}
    for column in table.column_names:
        array = table.column(column).slice(at, 1).combine_chunks()
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            array = array.cast(pa.binary())
        value = array[0].as_py()
        row[column] = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return row


def _json_tables(source: Source, name: str, faults: Faults) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    for where, row in source.json_rows(name, "pairs", faults):
        try:
            rows.append(_json_row(row) | {"file": name, "row": int(where.rsplit(":", 1)[1])})
        except BadRow as bad:
            faults.add(bad, where, "pairs", row, row.get("query_id"), row.get("doc_id"))
        if len(rows) == _BATCH_ROWS:
            yield pa.Table.from_pylist(rows, schema=ROWS)
            rows = []
    if rows:
        yield pa.Table.from_pylist(rows, schema=ROWS)


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a pair out of one JSON object, of the right Python types."""
    values = {}
    for name in PAIRS.names:
        value = row.get(name)
        if value is None:
            values[name] = None
        elif name in _NUMBERS:
            values[name] = _json_number(name, value)
        elif name in ("query_id", "doc_id") and isinstance(value, int) and not isinstance(value, bool):
            values[name] = str(value)
        elif not isinstance(value, str):
            raise BadRow("wrong-type", f"{name} {shown(value)} ({type(value).__name__})", "a string")
        else:
            values[name] = encodable(value, name)
    return values


def _json_number(name: str, value: Any) -> float | int:
    allowed = (int,) if _NUMBERS[name] is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        reason = "bad-grade" if name == "label" else "wrong-type"
        wanted = "a whole number" if allowed == (int,) else "a number"
        raise BadRow(reason, f"{name} {shown(value)} ({type(value).__name__})", wanted)
    limit = 2**31 if name == "first_stage_rank" else 2**63
    if allowed == (int,) and not -limit <= value < limit:
        raise BadRow("wrong-type", f"{name} {value}", "a number of at most 31 bits" if limit == 2**31 else "63 bits")
    try:
        return value if allowed == (int,) else float(value)
    except OverflowError:
        raise BadRow("bad-grade" if name == "label" else "wrong-type", f"{name} {shown(value)}", "a number") from None
