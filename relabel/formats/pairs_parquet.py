"""Pairs out of Parquet: columns of many types become those of `ROWS`; a value that cannot is a fault of its row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relabel.errors import InputError
from relabel.formats.faults import BadRow, Faults, shown
from relabel.formats.pair_rows import BATCH_ROWS, REQUIRED, ROWS
from relabel.formats.source import Source
from relabel.records import PAIRS

_READ_BYTES = 2 << 20


@contextmanager
def _whole_parquet(source: Source, name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        found = f"damaged Parquet ({' '.join(str(error).split())})"
        raise InputError(f"{source.folder.uri}/{name}", found, "a whole Parquet file", "copy it again") from None


def parquet_file(source: Source, name: str) -> pq.ParquetFile:
    """A Parquet file opened for reading; raises InputError where it is damaged."""
    with _whole_parquet(source, name):
        # Read ahead by pages: `pre_buffer` would hold the file's bytes until its last row.
        return pq.ParquetFile(source.folder.open(name), pre_buffer=False, buffer_size=_READ_BYTES)


def parquet_tables(source: Source, name: str, faults: Faults, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    """The rows of one Parquet file as tables of `columns` out of ROWS.

    Raises:
        InputError: for a damaged file, a missing column or one of a wrong type.
    """
    parquet = parquet_file(source, name)
    present = parquet.schema_arrow
    for required in REQUIRED:
        if required not in present.names:
            raise InputError(
                name, f"the columns {', '.join(present.names)}", f"a column {required!r}", "rename or add it"
            )
    for column in set(PAIRS.names) & set(present.names):
        _check_type(name, present.field(column))
    first = 1
    batches = parquet.iter_batches(BATCH_ROWS, columns=[column for column in columns if column in present.names])
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
