"""Table folders: complete only with their manifest, counts that add up, parts of bounded size, checked columns."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.errors import InputError, LedgerError
from relabel.records import QUARANTINE, RANKINGS, SCHEMAS, Scale, checked
from relabel.storage import Folder
from relabel.tables import (
    Manifest,
    TableWriter,
    clear_table,
    read_manifest,
    read_parts,
    read_whole,
    write_manifest,
)


def rankings(rows: int, start: int = 0) -> pa.Table:
    numbers = range(start, start + rows)
    return pa.table(
        {
            "system": ["bm25"] * rows,
            "query_id": [f"q{n // 10}" for n in numbers],
            "doc_id": [f"d{n}" for n in numbers],
            "rank": pa.array([n % 10 + 1 for n in numbers], pa.int32()),
            "score": pa.array([-float(n) for n in numbers], pa.float64()),
        },
        RANKINGS,
    )


def refused(rows: int) -> pa.Table:
    columns = {name: ["x"] * rows for name in QUARANTINE.names}
    return pa.table(columns, QUARANTINE)


def test_a_table_reads_back_in_order_whatever_the_sizes_of_writes(tmp_path):
    """Rows come back in writing order, from parts of the asked size except the last."""
    whole = rankings(1000)
    writer = TableWriter(Folder(tmp_path), "rankings", part_rows=64)
    start = 0
    for size in (1, 0, 63, 64, 65, 300, 507):
        writer.write(whole.slice(start, size))
        start += size
    manifest = writer.finish()
    sizes = [pq.read_metadata(tmp_path / part).num_rows for part in manifest.parts]
    assert sizes == [64] * 15 + [40]
    assert read_whole(Folder(tmp_path), "rankings").equals(whole.combine_chunks())
    assert max(part.num_rows for part in read_parts(Folder(tmp_path), "rankings", batch_rows=50)) == 50


def test_counts_add_up(tmp_path):
    """Rows in are rows plus quarantined rows, as counted in the files."""
    writer = TableWriter(Folder(tmp_path), "rankings", part_rows=10)
    writer.write(rankings(25))
    writer.quarantine(refused(13))
    manifest = writer.finish({"source": "test"})
    assert (manifest.rows_in, manifest.rows, manifest.quarantined) == (38, 25, 13)
    quarantine = (Folder(tmp_path) / "quarantine").names()
    assert sum(pq.read_metadata(tmp_path / "quarantine" / name).num_rows for name in quarantine) == 13
    assert read_manifest(Folder(tmp_path)) == manifest


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    """When `table.json` appears, every part and every quarantined row is already there."""
    seen = {}
    write_json = Folder.write_json

    def spy(folder, name, value):
        seen[name] = folder.names("part-") + (folder / "quarantine").names("part-")
        write_json(folder, name, value)

    monkeypatch.setattr(Folder, "write_json", spy)
    writer = TableWriter(Folder(tmp_path), "rankings", part_rows=10)
    writer.write(rankings(15))
    writer.quarantine(refused(1))
    writer.finish()
    assert seen == {"table.json": ["part-00000.parquet", "part-00001.parquet", "part-00000.parquet"]}


def test_a_half_written_table_is_refused_as_incomplete(tmp_path):
    """A table whose writer never finished cannot be read, though parts of it exist."""
    writer = TableWriter(Folder(tmp_path), "rankings", part_rows=10)
    writer.write(rankings(25))
    assert Folder(tmp_path).names("part-") != []
    with pytest.raises(InputError, match=r"found no table\.json; wanted a finished rankings folder.*run the stage"):
        list(read_parts(Folder(tmp_path), "rankings"))


def test_writing_again_forgets_the_table_that_was_there(tmp_path):
    """The first new part makes the old table incomplete and leaves none of its parts; what is not ours stays."""
    first = TableWriter(Folder(tmp_path), "rankings", part_rows=10)
    first.write(rankings(50))
    first.quarantine(refused(5))
    first.finish()
    (tmp_path / "change.json").write_text("{}")
    (tmp_path / "part-00003-a1b2.snappy.parquet").write_text("another program's")
    second = TableWriter(Folder(tmp_path), "rankings", part_rows=10)
    second.write(rankings(9))
    assert read_whole(Folder(tmp_path), "rankings").num_rows == 50
    second.write(rankings(3))
    with pytest.raises(InputError, match=r"no table\.json"):
        read_manifest(Folder(tmp_path))
    manifest = second.finish()
    (tmp_path / "part-00003-a1b2.snappy.parquet").unlink()
    assert manifest.parts == ["part-00000.parquet", "part-00001.parquet"] == Folder(tmp_path).names("part-")
    assert (Folder(tmp_path) / "quarantine").names() == []
    assert Folder(tmp_path).exists("change.json")
    clear_table(Folder(tmp_path))
    assert Folder(tmp_path).names() == ["change.json"]


def test_an_empty_table_is_a_table(tmp_path):
    """A finished table without rows reads as no rows with the right columns."""
    manifest = TableWriter(Folder(tmp_path), "pairs", Scale((0, 1), 1)).finish()
    assert (manifest.rows_in, manifest.parts) == (0, [])
    assert read_whole(Folder(tmp_path), "pairs").schema == SCHEMAS["pairs"]


def test_the_manifest_keeps_scale_and_facts(tmp_path):
    """Scale and facts of a table survive the way through the file."""
    manifest = Manifest("pairs", 0, 0, 0, [], Scale((1, 2, 3, 4), 3), {"source": "Größe", "seed": 7})
    write_manifest(Folder(tmp_path), manifest)
    assert read_manifest(Folder(tmp_path), "pairs") == manifest


def test_a_table_of_another_kind_is_refused(tmp_path):
    """Reading judgements where labels are wanted names both."""
    TableWriter(Folder(tmp_path), "judgements").finish()
    with pytest.raises(InputError, match="found a table of judgements; wanted a table of labels"):
        read_manifest(Folder(tmp_path), "labels")


@pytest.mark.parametrize("text", ['{"kind": "pairs"}', '{"kind": "pairs", "surprise": 1}', "[1, 2]", "{"])
def test_a_broken_manifest_is_refused(tmp_path, text):
    """A manifest that misses keys, adds keys or is no JSON object names its file."""
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(InputError, match=r"table\.json"):
        read_manifest(Folder(tmp_path))


def test_a_missing_part_is_named(tmp_path):
    """A part that the manifest lists and the folder lacks is an error with its address."""
    writer = TableWriter(Folder(tmp_path), "rankings", part_rows=10)
    writer.write(rankings(30))
    writer.finish()
    (tmp_path / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"part-00001\.parquet: found no such file"):
        read_whole(Folder(tmp_path), "rankings")


def test_a_part_that_is_no_parquet_is_named(tmp_path):
    """A damaged part is an error with its address, not a traceback of the reader."""
    writer = TableWriter(Folder(tmp_path), "rankings")
    writer.write(rankings(30))
    writer.finish()
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(InputError, match=r"part-00000\.parquet: found no Parquet"):
        read_whole(Folder(tmp_path), "rankings")


def test_parts_that_lost_rows_are_refused(tmp_path):
    """A part that was replaced by a shorter one contradicts the manifest."""
    writer = TableWriter(Folder(tmp_path), "rankings", part_rows=10)
    writer.write(rankings(30))
    writer.finish()
    pq.write_table(rankings(9), tmp_path / "part-00001.parquet")
    with pytest.raises(LedgerError, match=r"found 29 rows in its parts; wanted the 30 rows"):
        read_whole(Folder(tmp_path), "rankings")


def test_a_part_without_a_column_is_named(tmp_path):
    """A part made by another program that lacks a column is refused by the column's name."""
    writer = TableWriter(Folder(tmp_path), "rankings")
    writer.write(rankings(30))
    writer.finish()
    pq.write_table(rankings(30).drop_columns(["score"]), tmp_path / "part-00000.parquet")
    with pytest.raises(InputError, match="score"):
        read_whole(Folder(tmp_path), "rankings")


def test_columns_are_cast_only_without_loss():
    """Integers widen and large strings narrow, but fractions are never cut and nulls never let through."""
    table = rankings(3)
    wide = table.set_column(3, "rank", table["rank"].cast(pa.int64()))
    assert checked(wide, RANKINGS, "t").schema == RANKINGS
    assert checked(table.set_column(0, "system", table["system"].cast(pa.large_string())), RANKINGS, "t").equals(table)
    fractions = table.set_column(3, "rank", pa.array([1.5, 2.0, 3.0]))
    with pytest.raises(InputError, match="t: rank"):
        checked(fractions, RANKINGS, "t")
    nulls = table.set_column(2, "doc_id", pa.array(["d0", None, "d2"]))
    with pytest.raises(InputError, match="t: row 1: found null in 'doc_id'"):
        checked(nulls, RANKINGS, "t")


def test_writing_refuses_rows_of_another_table(tmp_path):
    """Rows that lack a declared column never reach a file."""
    writer = TableWriter(Folder(tmp_path), "rankings")
    with pytest.raises(InputError, match="a column 'score'"):
        writer.write(rankings(3).drop_columns(["score"]))


@pytest.mark.integration
def test_tables_on_s3_equal_tables_on_disk(s3, tmp_path):
    """The same writes give the same part bytes and the same manifest on S3 as on disk."""
    folders = [Folder(tmp_path), Folder(f"{s3}/tables/equal")]
    for folder in folders:
        writer = TableWriter(folder, "rankings", part_rows=300)
        writer.write(rankings(1000))
        writer.quarantine(refused(2))
        writer.finish({"source": "test"})
    disk, remote = folders
    assert disk.names(recursive=True) == remote.names(recursive=True)
    for name in disk.names(recursive=True):
        assert disk.read_bytes(name) == remote.read_bytes(name)
