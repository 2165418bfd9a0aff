"""The files of a dataset, read line by line through `Folder`, local and S3 alike, plain or gzip.

Rows are counted from 1 and named `file:row`. Bytes that are no UTF-8 are a fault of their row; a file that is cut off
or is no gzip is an error of the whole dataset.
"""

from __future__ import annotations

import gzip
import io
import json
import posixpath
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from relabel.errors import InputError
from relabel.formats.faults import BadRow, Faults, shown
from relabel.storage import Folder

_BUFFER_BYTES = 4 << 20


class Source:
    """A dataset: a folder of files, or one file.

    Args:
        uri: a local path or `s3://…` of a folder or a file.

    Raises:
        InputError: where nothing is there.
    """

    def __init__(self, uri: str):
        folder = Folder(uri)
        self.uri = folder.uri
        self.single: str | None = None
        if folder.stat() is not None:
            parent, self.single = posixpath.split(folder.uri)
            folder = Folder(parent)
        elif not folder.names(recursive=True):
            raise InputError(
                uri, "nothing there, or no file in it", "a folder or file of the dataset", "check --dataset"
            )
        self.folder = folder

    def names(self, suffix: str = "", recursive: bool = False) -> list[str]:
        """Sorted names of the dataset's files."""
        return [self.single] if self.single else self.folder.names(suffix=suffix, recursive=recursive)

    def find(self, *candidates: str) -> str:
        """The first candidate that exists, plain or with `.gz`.

        Raises:
            InputError: listing the candidates, where none exists.
        """
        if self.single:
            raise InputError(self.uri, "a file", f"the folder that holds {candidates[0]}", f"name {self.folder.uri}")
        for name in candidates:
            for spelled in (name, f"{name}.gz"):
                if self.folder.stat(spelled) is not None:
                    return spelled
        near = ", ".join(self.names(recursive=True)[:8]) or "no files"
        raise InputError(self.uri, near, f"the file {' or '.join(candidates)} (or .gz)", "check --dataset and --format")

    def open(self, name: str) -> BinaryIO:
        """The bytes of a file, unpacked where the name ends in `.gz`."""
        raw = self.folder.open(name)
        packed = gzip.GzipFile(fileobj=raw) if name.endswith(".gz") else raw
        return io.BufferedReader(packed, _BUFFER_BYTES)

    def lines(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Rows of a file without their line ends, counted from 1; blank lines and a byte order mark are left out.

        Raises:
            InputError: where a gzip file is none, or is cut off.
        """
        row = 0
        try:
            with self.open(name) as stream:
                for row, line in enumerate(stream, start=1):
                    if row == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    line = line.rstrip(b"\r\n")
                    if line.strip():
                        yield row, line
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"{self.folder.uri}/{name}:{row + 1}", f"damaged gzip ({error})", "a whole gzip file", "copy it again"
            ) from None

    def text_rows(self, name: str, kind: str, faults: Faults) -> Iterator[tuple[str, str]]:
        """(`file:row`, line) of every row that is UTF-8; the others are faults."""
        for row, line in self.lines(name):
            where = f"{name}:{row}"
            try:
                yield where, line.decode()
            except UnicodeDecodeError as error:
                faults.add(_encoding_fault(error), where, kind, line)

    def cell_rows(
        self, name: str, kind: str, columns: int | range, faults: Faults, separator: str | None = "\t"
    ) -> Iterator[tuple[str, list[str]]]:
        """(`file:row`, cells) of every row with the wanted number of columns; `separator` None is any blank space."""
        allowed = range(columns, columns + 1) if isinstance(columns, int) else columns
        wanted = str(columns) if isinstance(columns, int) else f"{columns.start} to {columns.stop - 1}"
        by = "separated by tabs" if separator == "\t" else "separated by blanks"
        for where, line in self.text_rows(name, kind, faults):
            cells = line.split(separator)
            if len(cells) in allowed:
                yield where, cells
            else:
                faults.add(BadRow("bad-columns", f"{len(cells)} columns", f"{wanted} columns {by}"), where, kind, line)

    def json_rows(self, name: str, kind: str, faults: Faults) -> Iterator[tuple[str, dict[str, Any]]]:
        """(`file:row`, object) of every row that is a JSON object."""
        for where, line in self.text_rows(name, kind, faults):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                faults.add(BadRow("bad-json", f"no JSON ({error})", "one JSON object a line"), where, kind, line)
                continue
            if isinstance(value, dict):
                yield where, value
            else:
                faults.add(BadRow("bad-json", f"{shown(value)}", "one JSON object a line"), where, kind, line)


def _encoding_fault(error: UnicodeDecodeError) -> BadRow:
    byte = error.object[error.start]
    return BadRow("bad-encoding", f"the byte 0x{byte:02x} at {error.start}, which is no UTF-8", "UTF-8")
