"""The external shuffle: nothing lost, same seed same order, batches independent of the number of workers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.storage import Folder
from train import shuffle
from train.shuffle import Shuffler, identity_hash

ROW = pa.schema([pa.field("name", pa.int64())])


@pytest.fixture
def write(tmp_path):
    """Shuffle the numbers 0…rows − 1 (length = number mod 97) and return the epoch and each rank's rows in order."""

    def shuffled(rows: int, batch: int = 8, ranks: int = 1, seed: int = 0):
        place = tmp_path / f"{rows}-{batch}-{ranks}-{seed}-{np.random.default_rng().integers(1 << 30)}"
        shuffler = Shuffler(ROW, place / "scratch", rows, lambda some: [name % 97 for name in some["name"].to_pylist()])
        for number in range(rows):
            shuffler.add({"name": number}, identity_hash(seed, number))
        folder = Folder(place / "out")
        epoch = shuffler.write(folder, batch, ranks, seed)
        read = [pa.concat_tables(pq.read_table(folder.path(name)) for name in names) for names in epoch.files]
        return epoch, read

    return shuffled


def batches(tables: list[pa.Table], batch: int) -> list[set[int]]:
    """The set of names in each global batch, from all ranks' rows."""
    whole = pa.concat_tables(tables).sort_by("position")["name"].to_pylist()
    return [set(whole[start : start + batch]) for start in range(0, len(whole), batch)]


def test_every_row_once(write):
    """Each row is in one batch or counted as left over; positions count from 0 without gaps."""
    epoch, (rows,) = write(1003)
    names = rows["name"].to_pylist()
    assert len(set(names)) == len(names) == epoch.rows == 1000
    assert epoch.left_over == 3
    assert epoch.steps == 125
    assert rows["position"].to_pylist() == list(range(1000))


def test_seed_decides_the_order(write):
    """The same seed gives the same rows in the same order, another seed another order."""
    order = write(500)[1][0]["name"].to_pylist()
    assert write(500)[1][0]["name"].to_pylist() == order
    assert write(500, seed=1)[1][0]["name"].to_pylist() != order


def test_batches_do_not_depend_on_the_workers(write):
    """One, two and four workers see the same global batches, each row on one worker at its position."""
    expected = batches(write(500)[1], 8)
    for ranks in (2, 4):
        _, tables = write(500, ranks=ranks)
        assert batches(tables, 8) == expected
        for rank, table in enumerate(tables):
            assert {position % ranks for position in table["position"].to_pylist()} == {rank}


def test_many_buckets_and_files(write, monkeypatch):
    """More rows than a bucket, a window or a file holds give one shuffle over all of them."""
    monkeypatch.setattr(shuffle, "BUCKET_ROWS", 100)
    monkeypatch.setattr(shuffle, "WINDOW_BATCHES", 5)
    monkeypatch.setattr(shuffle, "FILE_ROWS", 64)
    epoch, (rows,) = write(3000)
    names = np.array(rows["name"].to_pylist())
    assert sorted(names.tolist()) == list(range(3000))
    assert len(epoch.files[0]) > 10
    assert abs(np.corrcoef(np.arange(3000), names)[0, 1]) < 0.1


def test_buckets_without_rows(tmp_path, monkeypatch):
    """Where far fewer rows come than were expected, buckets are empty; nothing measures or gathers an empty table."""
    monkeypatch.setattr(shuffle, "BUCKET_ROWS", 10)

    def lengths(some: pa.Table) -> list[int]:
        assert some.num_rows
        return some["name"].to_pylist()

    shuffler = Shuffler(ROW, tmp_path / "scratch", 1000, lengths)
    for number in range(20):
        shuffler.add({"name": number}, number)  # small keys alone, as a limit keeps them
    epoch = shuffler.write(Folder(tmp_path / "out"), batch_rows=4, ranks=1, seed=0)
    assert (epoch.rows, epoch.left_over) == (20, 0)


def test_batches_hold_similar_lengths(write):
    """Within a batch lengths differ far less than in the whole."""
    _, (rows,) = write(5000, batch=20)
    lengths = np.array(rows["name"].to_pylist()).reshape(-1, 20) % 97
    assert lengths.std(axis=1).mean() < 0.35 * lengths.std()


def test_two_epochs_have_different_batches(write):
    """Another seed (an epoch has its own) puts other rows together, in small data too."""
    one, two = batches(write(64)[1], 8), batches(write(64, seed=1)[1], 8)
    assert sum(batch in two for batch in one) <= 1


def test_fewer_rows_than_a_batch(tmp_path):
    """Rows that fill no batch give no step and no file, and are counted."""
    shuffler = Shuffler(ROW, tmp_path / "scratch", 3, lambda some: [1] * some.num_rows)
    for number in range(3):
        shuffler.add({"name": number}, identity_hash(number))
    epoch = shuffler.write(Folder(tmp_path / "out"), batch_rows=8, ranks=2, seed=0)
    assert (epoch.steps, epoch.rows, epoch.left_over, epoch.files) == (0, 0, 3, [[], []])
