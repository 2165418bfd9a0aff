"""Manifests, plans and markers that somebody else wrote: an error that names the file, nothing outside the folder."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from relabel.errors import InputError, LedgerError, RelabelError
from relabel.ledger import commit, finished_shards, plan_stage, read_plan
from relabel.records import JUDGEMENTS, QUARANTINE, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_manifest, read_whole
from relabel.untrusted import safe_names


def _short(value) -> str:
    return f"{type(value).__name__}-{str(value)[:8]}"


#: Values that no field of ours has.
ABSURD = [None, -1, 1.5, "7", True, [], {}, [[]], {"a": {}}, "../../x", float("nan"), "x" * 500]


@pytest.fixture
def table(tmp_path, make_pairs) -> Folder:
    """A finished pairs table of 30 rows, and beside its folder a file that nobody may reach from it."""
    folder = Folder(tmp_path / "run" / "pairs")
    writer = TableWriter(folder, "pairs", Scale((0, 1), 1))
    writer.write(make_pairs([(f"q{i}", "d", "query", "text", 0) for i in range(30)]))
    writer.finish()
    (tmp_path / "secret.parquet").write_bytes(folder.read_bytes("part-00000.parquet"))
    return folder


@pytest.fixture
def stage(table, tmp_path) -> Folder:
    """A stage over that table with one of three shards done."""
    out = Folder(tmp_path / "run" / "out")
    plan = plan_stage(table, out, "judge", 10)
    rows = pa.Table.from_pylist([], schema=JUDGEMENTS)
    quarantined = pa.Table.from_pylist([dict.fromkeys(QUARANTINE.names, "x") for _ in range(10)], schema=QUARANTINE)
    commit(out, plan.shards[0], "judge", rows, quarantined, {}, 0.0, 1.0)
    return out


@pytest.mark.parametrize(
    "name",
    ["../secret.parquet", "../../secret.parquet", "/etc/passwd", "a/../../x", "", ".", "..", "a//b", "a\0b", "a\nb",
     "..\\x", 7, None, ["part-00000.parquet"], {"name": "x"}],
)  # fmt: skip
def test_a_part_outside_its_table_is_refused(table, name):
    """A manifest that names a file elsewhere, or no file name at all, is an error before anything is opened."""
    table.write_json("table.json", table.read_json("table.json") | {"parts": [name]})
    with pytest.raises(InputError, match=r"table\.json"):
        read_whole(table, "pairs")


def test_names_of_files_are_taken():
    """What our own writers name passes."""
    safe_names(["part-00000.parquet", "quarantine/part-00000.parquet", "model/1_Pooling/config.json", "a..b"], "here")


@pytest.mark.parametrize("key", ["kind", "rows_in", "rows", "quarantined", "parts", "scale", "about"])
@pytest.mark.parametrize("value", ABSURD, ids=_short)
def test_an_absurd_manifest_is_an_error_of_ours(table, key, value):
    """Whatever stands in a field: it is taken as what it may be, or refused by an error that names the file."""
    table.write_bytes("table.json", json.dumps(table.read_json("table.json") | {key: value}).encode())
    if (key, value) in [("scale", None), ("scale", []), ("scale", {}), ("about", {}), ("about", {"a": {}})]:
        assert read_whole(table, "pairs").num_rows == 30
        return
    with pytest.raises(RelabelError) as refused:
        read_whole(table, "pairs")
    assert table.uri in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("text", [b"[]", b"7", b"null", b'"table"', b"[" * 100_000, b'{"kind": "pairs"}'])
def test_a_manifest_that_is_no_record_is_an_error_of_ours(table, text):
    """Other JSON than a mapping, and JSON that nests without end."""
    table.write_bytes("table.json", text)
    with pytest.raises(InputError, match=r"table\.json"):
        read_manifest(table)


@pytest.mark.parametrize("key", ["inputs", "part_rows"])
def test_a_plan_cannot_lead_elsewhere(stage, key):
    """Parts of a plan are those of the table that it is over, nothing above it."""
    plan = stage.read_json("plan.json")
    (value,) = plan[key].values()
    stage.write_json("plan.json", plan | {key: {"../../secret.parquet": value}})
    with pytest.raises(LedgerError, match=r"plan\.json.*secret\.parquet"):
        read_plan(stage)


@pytest.mark.parametrize("key", ["input_uri", "inputs", "part_rows", "task_id", "shard_rows"])
@pytest.mark.parametrize("value", ABSURD, ids=_short)
def test_an_absurd_plan_is_an_error_of_ours(stage, key, value):
    """Wrong types in a plan, and fewer rows than none."""
    stage.write_bytes("plan.json", json.dumps(stage.read_json("plan.json") | {key: value}).encode())
    if (isinstance(value, str) and key in ("input_uri", "task_id")) or (value == {} and key in ("inputs", "part_rows")):
        assert getattr(read_plan(stage), key) == value
        return
    with pytest.raises(LedgerError, match=r"plan\.json"):
        read_plan(stage)


@pytest.mark.parametrize(
    "key", ["shard", "rows_in", "rows", "quarantined", "sha256", "bytes", "task_id", "busy_seconds", "facts"]
)
@pytest.mark.parametrize("value", ABSURD, ids=_short)
def test_an_absurd_marker_is_no_marker(stage, key, value):
    """A marker with a value of another type, or of another shard, does not count: its shard is done again."""
    plan = read_plan(stage)
    assert set(finished_shards(stage, plan)) == {0}
    marker = stage.read_json("markers/00000.json") | {key: value}
    stage.write_bytes("markers/00000.json", json.dumps(marker).encode())
    taken = set(finished_shards(stage, plan))
    harmless = (key == "facts" and isinstance(value, dict)) or (key == "busy_seconds" and value == 1.5)
    harmless = harmless or (key in ("sha256",) and isinstance(value, str))
    assert taken <= {0}
    if not harmless and key not in ("rows", "quarantined", "busy_seconds"):
        assert taken == set()


def test_a_marker_speaks_for_its_own_shard_alone(stage):
    """A copy of a marker under the name of another shard, or with its number, marks nothing as done."""
    plan = read_plan(stage)
    marker = stage.read_json("markers/00000.json")
    stage.write_json("markers/00001.json", marker)
    stage.write_json("markers/00002.json", marker | {"shard": 2})
    stage.write_json("markers/elsewhere.json", marker)
    assert set(finished_shards(stage, plan)) == {0}


@pytest.mark.parametrize("name", ["../out", "/etc", "a/../../b", "a\0b"])
def test_a_folder_inside_a_folder_stays_there(table, name):
    """Neither a file nor a folder is reached through a name that leads out."""
    with pytest.raises(InputError, match="a name that leaves its folder"):
        table / name
    with pytest.raises(InputError, match="a name that leaves its folder"):
        table.open(name)
