"""One way to reach files: a `Folder` is a local path or `s3://bucket/prefix`, behind pyarrow's filesystems.

Writes are atomic: locally a temporary file is flushed, synced and renamed; on S3 one put is atomic by itself. A
reader therefore sees a whole file or none, but for one on S3 that is replaced by a longer one while it is read: only
small JSON files are replaced in a run, and `read_json` reads again. What S3 needs is in `relabel.storage_s3`.
"""

from __future__ import annotations

import json
import os
import posixpath
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from relabel.errors import InputError
from relabel.secrets import refuse_in_address
from relabel.storage_errors import explained, no_such_file, says_nothing
from relabel.storage_s3 import create_object, s3_filesystem

Result = TypeVar("Result")
#: Requests to storage that are under way at once where many small files are read.
REQUESTS_AT_ONCE = 32
#: How often a JSON file on S3 is read until it is JSON.
READINGS = 3


@dataclass(frozen=True)
class FileFacts:
    """Size in bytes and a version that changes with the content (modification time in ns)."""

    size: int
    version: str


class Folder:
    """A folder on local disk or S3; cheap to make, picklable, creates nothing until the first write.

    Args:
        uri: a local path or `s3://bucket/prefix`.

    Raises:
        InputError: for another scheme, an S3 address without a bucket, or one with credentials in it.
    """

    def __init__(self, uri: str | os.PathLike):
        given = os.fspath(uri)
        refuse_in_address(given)
        self.uri = given.rstrip("/") or "/"
        parts = urlsplit(given)
        if not given.strip():
            raise InputError(
                repr(given), "an empty address", "a local path or s3://bucket/prefix", "is a variable unset?"
            )
        if "://" not in given and not given.startswith("s3:"):
            self.uri = _absolute(self.uri)
            self._root, self._s3 = self.uri, False
        elif parts.scheme == "s3" and parts.netloc:
            self._root, self._s3 = posixpath.join(parts.netloc, parts.path.strip("/")).rstrip("/"), True
        else:
            raise InputError(given, "an address that is neither a path nor S3", "a local path or s3://bucket/prefix")
        self._filesystem: pafs.FileSystem | None = None

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def __truediv__(self, name: str) -> Folder:
        self.path(name)  # refuses a name that leaves this folder
        return Folder(f"{self.uri}/{name}")

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_filesystem": None}

    @property
    def is_local(self) -> bool:
        return not self._s3

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem behind this folder."""
        if self._filesystem is None:
            self._filesystem = s3_filesystem() if self._s3 else pafs.LocalFileSystem()
        return self._filesystem

    def path(self, name: str = "") -> str:
        """The path of `name` inside this folder as the filesystem spells it."""
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise InputError(f"{self.uri}/{name}", "a name that leaves its folder", "a relative name without '..'")
        return posixpath.join(self._root, name) if name else self._root

    def stat(self, name: str = "") -> FileFacts | None:
        """Facts of one file, None where there is none."""
        info = self._info(name)
        if info.type != pafs.FileType.File:
            return None
        return FileFacts(info.size, str(info.mtime_ns))

    def exists(self, name: str = "") -> bool:
        """Whether `name` is a file or folder."""
        return self._info(name).type != pafs.FileType.NotFound

    def names(self, prefix: str = "", suffix: str = "", recursive: bool = False) -> list[str]:
        """Sorted names of the files below this folder, relative to it."""
        return sorted(self.sizes(prefix, suffix, recursive))

    def sizes(self, prefix: str = "", suffix: str = "", recursive: bool = False) -> dict[str, int]:
        """Name → bytes of the files below this folder, by one listing."""
        selector = pafs.FileSelector(self._root, recursive=recursive, allow_not_found=True)
        start = len(self._root) + 1
        with explained(self.uri):
            infos = self.filesystem.get_file_info(selector)
        files = ((info.path[start:], info.size) for info in infos if info.type == pafs.FileType.File)
        return {
            name: size
            for name, size in files
            if name.startswith(prefix) and name.endswith(suffix) and not name.rsplit("/", 1)[-1].startswith(".")
        }

    def open(self, name: str) -> pa.NativeFile:
        """`name` opened for random reading.

        Raises:
            InputError: where there is no such file.
        """
        with self._explained(name):
            try:
                return self.filesystem.open_input_file(self.path(name))
            except FileNotFoundError:
                raise no_such_file(self._address(name), self._bucket_missing()) from None

    def read_bytes(self, name: str) -> bytes:
        with self._explained(name), self.open(name) as stream:
            return stream.read()

    def write_bytes(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a whole file atomically, replacing one of that name."""
        path = self.path(name)
        with self._explained(name):
            if self._s3:
                with self.filesystem.open_output_stream(path) as stream:
                    stream.write(data)
            else:
                _write_local(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a whole file only if there is none of that name, atomically; whether this call wrote it.

        An S3 store that answers late may have written it and yet report that it was there: who must know reads it.
        """
        path = self.path(name)
        with self._explained(name):
            return create_object(path, data) if self._s3 else _create_local(path, data)

    def read_json(self, name: str) -> Any:
        """Raises InputError where the file is missing or is no JSON.

        S3 is asked for a file's size, then for as many bytes: one that was replaced by a longer one in between comes
        without its end, which is no JSON. So what is none is read again.
        """
        for chance in range(READINGS if self._s3 else 1, 0, -1):
            try:
                return json.loads(self.read_bytes(name))
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                if chance == 1:
                    raise InputError(f"{self.uri}/{name}", f"no JSON ({error})", "a JSON file") from None

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One Parquet file as an Arrow table; raises InputError where it is missing or no Parquet."""
        with self._explained(name), self.open(name) as stream:
            return parquet_file(stream, self._address(name)).read(columns)

    def write_table(self, name: str, table: pa.Table, row_group_rows: int = 4096) -> int:
        """Write one Parquet file atomically (zstd); returns its size in bytes."""
        data = parquet_bytes(table, row_group_rows)
        self.write_bytes(name, data)
        return data.size

    def remove(self, name: str) -> None:
        """Remove one file; no error where it is gone already."""
        with self._explained(name), suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))

    def _address(self, name: str) -> str:
        return f"{self.uri}/{name}" if name else self.uri

    def _info(self, name: str) -> pafs.FileInfo:
        with self._explained(name):
            return self.filesystem.get_file_info(self.path(name))

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """`explained`, and the reason where S3 refused without one, as it does questions about a single object."""
        with explained(self._address(name)):
            try:
                yield
            except OSError as error:
                if self._s3 and says_nothing(error):  # a listing is refused with words
                    self.filesystem.get_file_info(pafs.FileSelector(f"{self._root}/.why", allow_not_found=True))
                raise

    def _bucket_missing(self) -> bool:
        bucket = self._root.split("/", 1)[0]
        return self._s3 and self.filesystem.get_file_info(bucket).type == pafs.FileType.NotFound


def at_once(call: Callable[[str], Result], names: Iterable[str]) -> list[Result]:
    """What `call` gives for each name, in their order; `REQUESTS_AT_ONCE` of them wait on storage together."""
    names = list(names)
    if len(names) < 2:
        return [call(name) for name in names]
    with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(names)), "storage") as threads:
        return list(threads.map(call, names))


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        raise InputError(path, "a user without a home folder", "a path that exists", "write the folder out") from None


def _write_local(path: str, data: bytes | pa.Buffer) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _create_local(path: str, data: bytes) -> bool:
    """A hard link to a whole temporary file either appears or finds the name taken, over NFS as well."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}.tmp"
    try:
        Path(temporary).write_bytes(data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return True


def parquet_file(stream: pa.NativeFile, address: str) -> pq.ParquetFile:
    """An opened file as Parquet, whose pages are held against their checksums where it has them.

    Raises:
        InputError: naming `address`, where it is no Parquet.
    """
    try:
        return pq.ParquetFile(stream, page_checksum_verification=True)
    except pa.ArrowInvalid as error:
        raise InputError(address, f"no Parquet ({error})", "a Parquet file") from None


def parquet_bytes(table: pa.Table, row_group_rows: int = 4096) -> pa.Buffer:
    """`table` as the bytes of a Parquet file, each page with a checksum; the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group_rows, write_page_checksum=True)
    return sink.getvalue()
