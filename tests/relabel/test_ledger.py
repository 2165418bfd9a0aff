"""The ledger: shards cover every row once, markers are believed only when true, the books must balance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from relabel.errors import InputError, LedgerError
from relabel.judges import JudgeConfig, load_judge
from relabel.ledger import (
    Marker,
    MarkerIndex,
    Plan,
    check_keys,
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
from relabel.tables import TableWriter, quarantine_table, read_manifest, read_whole

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


@pytest.fixture
def indexed(tmp_path, make_pairs) -> tuple[Folder, Plan, dict[int, Marker]]:
    """120 shards of one row, committed and indexed."""
    folder, out = Folder(tmp_path / "many"), Folder(tmp_path / "many-out")
    writer = TableWriter(folder, "pairs")
    writer.write(make_pairs([(f"q{i // 5}", f"d{i}", "a query", "a text", None) for i in range(120)]))
    writer.finish()
    plan, index = plan_stage(folder, out, TASK, 1), MarkerIndex(out)
    for shard in plan.shards:
        index.add(commit(out, shard, TASK, *_judged(read_shard(folder, shard)), {"tokens": shard.index}, 0.0, 1.0))
    index.flush()
    return out, plan, {index: Marker(**out.read_json(marker_name(index))) for index in range(120)}


def test_markers_are_read_from_the_index_alone(indexed, monkeypatch):
    """A resumed run of many shards opens the index and no marker, and finds the same."""
    out, plan, markers = indexed
    opened = []
    reading = Folder.read_bytes
    monkeypatch.setattr(Folder, "read_bytes", lambda self, name: opened.append(name) or reading(self, name))
    assert finished_shards(out, plan) == markers
    assert opened == []


@pytest.mark.parametrize("damage", ["gone", "cut", "of another schema"])
def test_without_its_index_a_ledger_is_the_same(indexed, damage):
    """The index is a copy: where it cannot be read the markers are."""
    out, plan, markers = indexed
    folder = out / "markers/index"
    for name in folder.names():
        if damage == "gone":
            folder.remove(name)
        elif damage == "cut":
            folder.write_bytes(name, folder.read_bytes(name)[:-7])
        else:
            folder.write_table(name, pa.table({"shard": [1]}))
    assert finished_shards(out, plan) == markers


def test_the_index_is_not_believed_about_a_marker_that_is_not_there(indexed):
    """A marker that somebody removed makes its shard undone, whatever the index says; so does another part."""
    out, plan, markers = indexed
    out.remove(marker_name(7))
    out.write_bytes(part_name(8), b"shorter")
    assert set(finished_shards(out, plan)) == set(markers) - {7, 8}


def test_a_shard_that_was_done_again_counts_by_its_own_marker(indexed, make_pairs):
    """Its part got lost, and what was written in its place has another size than the index remembers."""
    out, plan, markers = indexed
    out.remove(part_name(8))
    assert set(finished_shards(out, plan)) == set(markers) - {8}
    again = make_pairs([("q", f"d{row}", "query", "text", 0) for row in range(plan.shards[8].rows)])
    rows, quarantined = _judged(again)
    marker = commit(out, plan.shards[8], TASK, rows.append_column("more", rows["doc_id"]), quarantined, {}, 0.0, 1.0)
    assert marker.bytes != markers[8].bytes
    assert finished_shards(out, plan) == markers | {8: marker}


def test_a_shard_whose_quarantine_is_lost_is_done_again(tmp_path, make_pairs):
    """Rows that were set aside are part of the books: without them the marker counts for nothing."""
    folder, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    writer = TableWriter(folder, "pairs")
    writer.write(make_pairs([("q", f"d{row}", "a query", "" if row == 5 else "a text", None) for row in range(9)]))
    writer.finish()
    plan = plan_stage(folder, out, TASK, 3)
    _commit_all(folder, out, plan)
    assert set(finished_shards(out, plan)) == {0, 1, 2}
    out.remove("quarantine/part-00001.parquet")
    assert set(finished_shards(out, plan)) == {0, 2}


def test_quarantine_of_a_try_that_was_cut_is_gone(pairs, tmp_path):
    """A first try set rows aside and died before its marker; the second had nothing to set aside."""
    out = Folder(tmp_path / "out")
    plan = plan_stage(pairs, out, TASK, 10)
    reasons = [("kills-engine", "x")] * 3
    left = quarantine_table(read_shard(pairs, plan.shards[1]).slice(0, 3), reasons, "part-00001.parquet:0", "judge")
    out.write_table("quarantine/part-00001.parquet", left)
    _commit_all(pairs, out, plan)
    manifest = reconcile(out, plan, finished_shards(out, plan), "judgements", Scale((0, 1), 1), {})
    assert manifest.quarantined == 0
    assert (out / "quarantine").names() == []


def test_few_markers_get_no_index(pairs, tmp_path):
    """A small run's folder holds its markers and nothing besides."""
    out = Folder(tmp_path / "out")
    plan, index = plan_stage(pairs, out, TASK, 5), MarkerIndex(out)
    for shard in plan.shards:
        index.add(commit(out, shard, TASK, *_judged(read_shard(pairs, shard)), {}, 0.0, 1.0))
    index.flush()
    assert (out / "markers").names(recursive=True) == [f"{index:05d}.json" for index in range(5)]


@pytest.mark.parametrize("rows", [{"part-0": "many"}, {"part-0": -1}, ["part-0"], None])
def test_a_plan_that_is_none_is_refused(tmp_path, rows):
    """Counts that are no counts name the file."""
    out = Folder(tmp_path)
    values = {"input_uri": "x", "inputs": {"part-0": "1-a"}, "part_rows": rows, "task_id": TASK, "shard_rows": 4}
    out.write_json("plan.json", values)
    with pytest.raises(LedgerError, match=r"plan\.json: found a plan with part_rows"):
        read_plan(out)


def test_a_shards_keys_are_those_of_its_pairs(make_pairs):
    """Rows and quarantined rows together, in any order; another key, a lost or a doubled one is refused."""
    pairs = make_pairs([("q1", f"d{i}", "a query", "a text" if i % 3 else " ", None) for i in range(9)])
    rows, bad = _judged(pairs)
    assert (rows.num_rows, bad.num_rows) == (6, 3)
    check_keys(pairs, rows, bad, "shard 0")
    check_keys(pairs, rows.take([5, 4, 3, 2, 1, 0]), bad, "shard 0")
    for wrong in (rows.slice(1), rows.take([0, 0, 2, 3, 4, 5]), rows.set_column(1, "doc_id", pa.array(["x"] * 6))):
        with pytest.raises(LedgerError, match=r"shard 0: found . rows \+ 3 quarantined whose keys are not those"):
            check_keys(pairs, wrong, bad, "shard 0")


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("part_rows", [1, 3, 50, 1000])
def test_duplicate_keys_are_found_wherever_they_are(tmp_path, make_pairs, together, part_rows):
    """Rows of a query together or scattered, in few parts or many: none is found where none is, one where one is."""
    folder, rng = Folder(tmp_path), np.random.default_rng(part_rows)
    rows = [(f"q{i // 7}", f"d{i % 7 + i // 70}", "a", "b", None) for i in range(200)]
    if not together:
        rows = [rows[place] for place in rng.permutation(200)]

    def parts(rows: list[tuple]) -> list[str]:
        names = []
        for start in range(0, len(rows), part_rows):
            names.append(f"part-{len(names):05d}.parquet")
            folder.write_table(names[-1], make_pairs(rows[start : start + part_rows]))
        return names

    assert duplicate_key(folder, parts(rows)) is None
    for _ in range(6):
        one = int(rng.integers(200))
        same_query = [place for place, row in enumerate(rows) if row[0] == rows[one][0]]
        place = int(rng.choice(same_query)) if together else int(rng.integers(200))
        assert duplicate_key(folder, parts([*rows[:place], rows[one], *rows[place:]])) == rows[one][:2]


def test_duplicate_keys_are_found_by_hash_and_confirmed(tmp_path, make_pairs):
    """Different keys never count as duplicates; the same key in two parts does."""
    folder = Folder(tmp_path)
    rng = np.random.default_rng(0)
    rows = [(f"q{i}", f"d{j}", "a", "b", 0) for i, j in zip(range(2000), rng.integers(0, 9, 2000), strict=True)]
    folder.write_table("a.parquet", make_pairs(rows))
    folder.write_table("b.parquet", make_pairs([("q0", "other", "a", "b", 0)]))
    assert duplicate_key(folder, ["a.parquet", "b.parquet"]) is None
    assert duplicate_key(folder, ["a.parquet", "b.parquet", "b.parquet"]) == ("q0", "other")
