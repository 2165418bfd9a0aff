"""External shuffle: rows in any number → shuffled training files, one list a rank, batches of similar length.

Rows go by the hash of their identity into bucket files of bounded size; a bucket is sorted by that hash in memory, so
that the buckets one after another are one global shuffle. Batches are cut from windows of that stream by length. Row j
of a batch belongs to rank j mod ranks: the content of every batch is a function of (rows, seed, batch size) alone, not
of the number of workers. Column `position` counts the rows of an epoch, and the loop checks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relabel.storage import Folder

#: Batches of similar length are cut from windows of this many batches.
WINDOW_BATCHES = 50
#: Rows of one bucket are shuffled in memory.
BUCKET_ROWS = 16_384
#: Rows of one training file.
FILE_ROWS = 4_096
#: Spread, in batches, of the noise on a row's place by length, so that small data give other batches every epoch.
PLACE_NOISE = 0.5


def identity_hash(*parts: object) -> int:
    """64 bits that depend on all parts: the shuffling key of one row, the seed of one choice."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class EpochFiles:
    """The training files of one epoch: `files[rank]` in reading order, full batches only.

    Attributes:
        steps: batches of the epoch.
        rows: rows in those batches; `left_over` rows did not fill a last batch.
    """

    files: list[list[str]]
    steps: int
    rows: int
    left_over: int


class Shuffler:
    """Collects the rows of one epoch and writes them shuffled, in batches, by rank.

    Args:
        schema: columns of the rows.
        scratch: an empty local folder for the buckets.
        expected_rows: at most this many rows will come; decides the number of buckets.
        lengths: of many rows at once; batches are cut by them, best in the tokens that the model will see.
        gather: makes the rows to write from those added, which come with equal keys next to each other, so that
            several can become one; None: they are written as they are.
    """

    def __init__(
        self,
        schema: pa.Schema,
        scratch: Path,
        expected_rows: int,
        lengths: Callable[[pa.Table], list[int]],
        gather: Callable[[pa.Table], pa.Table] | None = None,
    ):
        self._lengths, self._gather = lengths, gather
        self._stored = schema.append(pa.field("key", pa.uint64()))
        buckets = max(1, -(-expected_rows // BUCKET_ROWS))
        scratch.mkdir(parents=True, exist_ok=True)
        self._paths = [scratch / f"bucket-{bucket:05d}.parquet" for bucket in range(buckets)]
        self._writers = [pq.ParquetWriter(path, self._stored) for path in self._paths]
        self._rows: list[dict] = []

    def add(self, row: dict, key: int) -> None:
        """One row and its shuffling key."""
        self._rows.append({**row, "key": key})
        if len(self._rows) >= BUCKET_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self._stored)
        self._rows = []
        bucket = (np.asarray(table["key"]) >> np.uint64(32)) * np.uint64(len(self._writers)) >> np.uint64(32)
        for number in np.unique(bucket):
            self._writers[number].write_table(table.filter(pa.array(bucket == number)))

    def write(self, folder: Folder, batch_rows: int, ranks: int, seed: int) -> EpochFiles:
        """Write `rank-<r>/part-<n>.parquet` below `folder`; the scratch files are removed."""
        if self._rows:
            self._flush()
        for writer in self._writers:
            writer.close()
        writers = [_RankFiles(folder, rank) for rank in range(ranks)]
        rows = left_over = 0
        for window, waiting in _windows(self._buckets(), batch_rows):
            batches = _batches(np.asarray(window["length"]), batch_rows, np.random.default_rng([seed, rows]))
            window = window.drop_columns(["length"])
            positions = pa.array(np.arange(rows, rows + window.num_rows), pa.int64())
            ordered = window.take(pa.array(batches.ravel())).append_column("position", positions)
            for rank, writer in enumerate(writers):
                writer.add(ordered.take(pa.array(np.arange(rank, ordered.num_rows, ranks))))
            rows += window.num_rows
            left_over = waiting
        for writer in writers:
            writer.flush()
        return EpochFiles([writer.files for writer in writers], rows // batch_rows, rows, left_over)

    def _buckets(self) -> Iterator[pa.Table]:
        for path in self._paths:
            rows = pq.read_table(path).sort_by("key").drop_columns(["key"])
            path.unlink()
            if not rows.num_rows:
                continue
            rows = self._gather(rows) if self._gather else rows
            yield rows.append_column("length", pa.array(self._lengths(rows), pa.int64()))


def _windows(tables: Iterator[pa.Table], batch_rows: int) -> Iterator[tuple[pa.Table, int]]:
    """Windows of whole batches in stream order, with the rows that wait or are left over after each."""
    size = WINDOW_BATCHES * batch_rows
    waiting: pa.Table | None = None
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while waiting.num_rows >= size:
            yield waiting.slice(0, size), waiting.num_rows - size
            waiting = waiting.slice(size)
    if waiting is not None:
        whole = waiting.num_rows // batch_rows * batch_rows
        yield waiting.slice(0, whole), waiting.num_rows - whole


def _batches(lengths: np.ndarray, batch_rows: int, random: np.random.Generator) -> np.ndarray:
    """Row numbers [batches, batch_rows]: rows of similar length together, longest first, batches in random order."""
    places = np.argsort(np.argsort(-lengths, kind="stable"))
    noisy = places + random.normal(0.0, PLACE_NOISE * batch_rows, len(lengths))
    batches = np.argsort(noisy, kind="stable").reshape(-1, batch_rows)
    batches = batches[random.permutation(len(batches))]
    return np.take_along_axis(batches, np.argsort(-lengths[batches], axis=1, kind="stable"), axis=1)


class _RankFiles:
    def __init__(self, folder: Folder, rank: int):
        self.folder, self.rank = folder, rank
        self.files: list[str] = []
        self._pending: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        self._pending.append(rows)
        if sum(table.num_rows for table in self._pending) >= FILE_ROWS:
            self.flush()

    def flush(self) -> None:
        rows = pa.concat_tables(self._pending) if self._pending else None
        self._pending = []
        if rows is None or not rows.num_rows:
            return
        name = f"rank-{self.rank}/part-{len(self.files):05d}.parquet"
        self.folder.write_table(name, rows)
        self.files.append(name)
