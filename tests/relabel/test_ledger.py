"""The ledger: shards cover every row once, markers are believed only when true, the books must balance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from relabel.errors import InputError, LedgerError
from relabel.judges import JudgeConfig, load_judge
from relabel.ledger import (
    commit,
    cut_shards,
    duplicate_key,
    finished_shards,
    marker_name,
    part_name,
    plan_stage,
    read_plan,
    read_shard,
    reconcile,
)
from relabel.records import QUARANTINE, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_manifest, read_whole

TASK = "task-1"


@pytest.fixture
def pairs(tmp_path, make_pairs) -> Folder:
    """A pairs table of 25 rows in parts of 10."""
    folder = Folder(tmp_path / "pairs")
    writer = TableWriter(folder, "pairs", Scale((0, 1), 1), part_rows=10)
    writer.write(make_pairs([(f"q{i // 5}", f"d{i}", f"query {i // 5}", f"text {i}", i % 2) for i in range(25)]))
    writer.finish()
    return folder


def _judged(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    judged = load_judge(JudgeConfig(engine="lexical")).judge(table, "x:0")
    return judged.judgements, judged.quarantined


def _commit_all(pairs: Folder, out: Folder, plan) -> None:
    for shard in plan.shards:
        commit(out, shard, TASK, *_judged(read_shard(pairs, shard)), {}, 0.0, 1.0)


@pytest.mark.parametrize("shard_rows", [1, 3, 7, 10, 25, 100])
def test_shards_cover_each_row_once_in_order(pairs, shard_rows, tmp_path):
    """Whatever the shard size, the shards' rows are the table's rows."""
    plan = plan_stage(pairs, Folder(tmp_path / "out"), TASK, shard_rows)
    rows = pa.concat_tables([read_shard(pairs, shard) for shard in plan.shards])
    assert rows.equals(read_whole(pairs, "pairs"))
    assert {shard.rows for shard in plan.shards[:-1]} <= {shard_rows}


def test_shards_span_small_parts():
    """Many small files make few shards, not many."""
    shards = cut_shards({f"p{i}": 3 for i in range(10)}, 12)
    assert [shard.rows for shard in shards] == [12, 12, 6]
    assert len(shards[0].segments) == 4


def test_plan_is_written_once_and_kept(pairs, tmp_path):
    """A second start uses the first plan, though it asks for another shard size."""
    out = Folder(tmp_path / "out")
    first = plan_stage(pairs, out, TASK, 4)
    assert plan_stage(pairs, out, TASK, 9) == first == read_plan(out)


def test_plan_of_another_task_is_refused(pairs, tmp_path):
    """No judge's work goes on in another judge's folder."""
    out = Folder(tmp_path / "out")
    plan_stage(pairs, out, TASK, 4)
    with pytest.raises(LedgerError, match=r"found a plan of task-1; wanted one of task-2"):
        plan_stage(pairs, out, "task-2", 4)


def test_input_that_changed_since_the_plan_is_refused(pairs, tmp_path, make_pairs):
    """A part that was written anew with other rows is named."""
    out = Folder(tmp_path / "out")
    plan_stage(pairs, out, TASK, 4)
    pairs.write_table("part-00001.parquet", make_pairs([("q9", f"x{i}", "a", "b", 1) for i in range(10)]))
    with pytest.raises(LedgerError, match=r"changed since it was planned: part-00001\.parquet"):
        plan_stage(pairs, out, TASK, 4)


def test_a_key_in_two_rows_is_refused_before_any_work(tmp_path, make_pairs):
    """Duplicate keys are found at planning, across parts."""
    folder = Folder(tmp_path / "pairs")
    writer = TableWriter(folder, "pairs", Scale((0, 1), 1), part_rows=2)
    writer.write(make_pairs([("q", "d1", "a", "b", 1), ("q", "d2", "a", "b", 0), ("q", "d1", "a", "c", 0)]))
    writer.finish()
    with pytest.raises(InputError, match=r"the key \('q', 'd1'\) in two rows"):
        plan_stage(folder, Folder(tmp_path / "out"), TASK, 2)


def test_finished_table_balances_and_opens(pairs, tmp_path):
    """After all shards are committed the table has a manifest with rows in = rows + quarantined."""
    out = Folder(tmp_path / "out")
    plan = plan_stage(pairs, out, TASK, 4)
    _commit_all(pairs, out, plan)
    manifest = reconcile(out, plan, finished_shards(out, plan), "judgements", Scale((0, 1, 2, 3), 2), {"by": "test"})
    assert (manifest.rows_in, manifest.rows, manifest.quarantined) == (25, 25, 0)
    assert read_manifest(out, "judgements") == manifest
    assert read_whole(out, "judgements").num_rows == 25


def test_commit_refuses_a_shard_that_lost_rows(pairs, tmp_path):
    """Rows out + quarantined must be the shard's rows, or nothing is committed."""
    out = Folder(tmp_path / "out")
    shard = plan_stage(pairs, out, TASK, 4).shards[0]
    rows, _ = _judged(read_shard(pairs, shard).slice(1))
    with pytest.raises(LedgerError, match=r"3 rows \+ 0 quarantined of 4 in"):
        commit(out, shard, TASK, rows, QUARANTINE.empty_table(), {}, 0.0, 1.0)
    assert not finished_shards(out, read_plan(out))


@pytest.mark.parametrize("damage", ["no marker", "no part", "cut part", "cut marker", "marker of another task"])
def test_a_shard_counts_only_with_a_true_marker(pairs, tmp_path, damage):
    """A shard whose commit was cut short anywhere is done again, and reconciling without it fails."""
    out = Folder(tmp_path / "out")
    plan = plan_stage(pairs, out, TASK, 4)
    _commit_all(pairs, out, plan)
    if damage == "no marker":
        out.remove(marker_name(2))
    elif damage == "no part":
        out.remove(part_name(2))
    elif damage == "cut part":
        out.write_bytes(part_name(2), out.read_bytes(part_name(2))[:-7])
    elif damage == "cut marker":
        out.write_bytes(marker_name(2), out.read_bytes(marker_name(2))[:-9])
    else:
        out.write_json(marker_name(2), out.read_json(marker_name(2)) | {"task_id": "task-0"})
    assert set(finished_shards(out, plan)) == set(range(len(plan.shards))) - {2}
    with pytest.raises(LedgerError, match=r"1 shards without a valid marker, e\.g\. \[2\]"):
        reconcile(out, plan, finished_shards(out, plan), "judgements", None, {})


def test_duplicate_keys_are_found_by_hash_and_confirmed(tmp_path, make_pairs):
    """Different keys never count as duplicates; the same key in two parts does."""
    folder = Folder(tmp_path)
    rng = np.random.default_rng(0)
    rows = [(f"q{i}", f"d{j}", "a", "b", 0) for i, j in zip(range(2000), rng.integers(0, 9, 2000), strict=True)]
    folder.write_table("a.parquet", make_pairs(rows))
    folder.write_table("b.parquet", make_pairs([("q0", "other", "a", "b", 0)]))
    assert duplicate_key(folder, ["a.parquet", "b.parquet"]) is None
    assert duplicate_key(folder, ["a.parquet", "b.parquet", "b.parquet"]) == ("q0", "other")
