"""Pairs that carry their texts: Parquet or jsonl (plain or gzip), one file or a folder of them.

Columns: `query_id`, `doc_id` (strings or whole numbers), `query`, `text`; and perhaps `title`, `label` (a number),
`label_source`, `query_frequency`, `first_stage_rank`, `first_stage_score`. Other columns are left out, and said so.
A pairs table of ours is read in the order of its `table.json`. Files are read in the order of their names, as Arrow
tables of the columns above with `file` and `row` (counted from 1) for messages; nothing else is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from relabel.errors import InputError
from relabel.formats.faults import Faults
from relabel.formats.pair_rows import ROWS
from relabel.formats.pairs_json import json_tables
from relabel.formats.pairs_parquet import parquet_file, parquet_tables
from relabel.formats.source import Source
from relabel.records import PAIRS, Scale
from relabel.tables import MANIFEST, read_manifest

#: Rows of a jsonl file whose keys are looked at for the message about columns that are left out.
LOOKED_AT = 100


def table_scale(source: Source) -> Scale | None:
    """The scale that a pairs table of ours states, None for other data."""
    if source.single or not source.folder.exists(MANIFEST):
        return None
    return read_manifest(source.folder, "pairs").scale


def other_columns(source: Source) -> list[str]:
    """Columns that no pair has, so that they are left out: of Parquet files, and of the first rows of jsonl files."""
    names: set[str] = set()
    for name in _file_names(source):
        if name.endswith(".parquet"):
            names |= set(parquet_file(source, name).schema_arrow.names)
        else:
            rows = source.json_rows(name, "pairs", Faults(lambda rows: None, raises=False))
            names = names.union(*(row for _, row in islice(rows, LOOKED_AT)))
    return sorted(names - set(PAIRS.names))


def read_tables(source: Source, faults: Faults, columns: tuple[str, ...] = ROWS.names) -> Iterator[pa.Table]:
    """The rows of all files as tables of `columns` out of ROWS, unchecked but for their types.

    Raises:
        InputError: for a file that lacks a required column or has one of a wrong type; where there is no file.
    """
    for name in _file_names(source):
        if name.endswith(".parquet"):
            yield from parquet_tables(source, name, faults, columns)
        else:
            for table in json_tables(source, name, faults):
                yield table.select(columns)


def _file_names(source: Source) -> list[str]:
    if source.single is None and source.folder.exists(MANIFEST):
        return read_manifest(source.folder, "pairs").parts
    names = [name for name in source.names() if name.endswith((".parquet", ".jsonl", ".jsonl.gz"))]
    if not names:
        found = source.single or "no .parquet, .jsonl or .jsonl.gz file"
        raise InputError(source.uri, found, "pairs as Parquet or jsonl, one file or a folder of files")
    return names
