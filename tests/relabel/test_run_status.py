"""How far a run is: rates and time left from markers, workers alive and restarted, what a stopped run looks like."""

from __future__ import annotations

import pytest

from relabel.ledger import Marker, commit, plan_stage, read_shard
from relabel.lock import held
from relabel.records import QUARANTINE
from relabel.run_status import planned_left, run_lines, status_of, table_lines, table_status
from relabel.storage import Folder
from tests.jobs.stage_runs import write_pairs

NOW = 10_000.0


def marker(shard: int, finished: float, *, busy: float = 10.0, rows: int = 100, bad: int = 0, actor="a", process=1):
    """A finished shard as a worker of a node reports it."""
    worker = {"node": "n", "actor": actor, "process": process}
    facts = {"quarantined": {"empty-text": bad} if bad else {}, "worker": worker}
    return Marker(shard, rows, rows - bad, bad, "", 0, "task", busy, finished - busy, finished, facts)


def test_the_rate_is_that_of_late_and_the_time_left_follows():
    """Shards of an earlier attempt, hours ago, do not count for the rate; two actors at 10 rows/s each make 20."""
    lately = [marker(2 * at + side, NOW - 90 + 10 * at, actor="ab"[side]) for at in range(10) for side in (0, 1)]
    before = [marker(50 + at, NOW - 8_000 + at) for at in range(20)]
    found = status_of([*before, *lately], 100, 10_000, NOW)
    assert (found.shards_done, found.rows_done) == (40, 4_000)
    assert found.rate == pytest.approx(20)
    assert found.seconds_left == pytest.approx(300)
    assert found.alive == 2
    assert "20.0 rows/s lately, 2 worker(s) alive, about 5 min 00 s left" in "\n".join(table_lines("judgements", found))


def test_a_worker_made_again_is_a_restart_and_its_old_process_is_not_alive_for_long():
    """One actor with a second process counts as one restart; a worker that is silent for long is not alive."""
    markers = [marker(0, NOW - 500, process=1), marker(1, NOW - 20, process=2), marker(2, NOW - 10, actor="b")]
    found = status_of(markers, 10, 1_000, NOW)
    assert (found.alive, found.restarts) == (2, 1)
    assert "1 restarted" in "\n".join(table_lines("judgements", found))


def test_a_run_that_was_stopped_looks_stopped():
    """Where nothing was finished for several shards' time, no time left is promised; slow shards get more patience."""
    quick = status_of([marker(0, NOW - 300)], 10, 1_000, NOW)
    slow = status_of([marker(0, NOW - 300, busy=200)], 10, 1_000, NOW)
    assert "nothing finished for 5 min 00 s: it was stopped, or waits" in "\n".join(table_lines("j", quick))
    assert "left" in "\n".join(table_lines("j", slow))
    assert quick.alive == 0
    assert slow.alive == 1


def test_before_the_first_shard_no_rate_is_made_up():
    """Nothing is divided by nothing."""
    found = status_of([], 10, 1_000, NOW)
    assert found.seconds_left is None
    assert "no shard is finished yet" in "\n".join(table_lines("j", found))


def test_quarantined_rows_are_told_by_reason():
    """Reasons add up over shards."""
    found = status_of([marker(0, NOW, bad=3), marker(1, NOW, bad=4)], 10, 1_000, NOW)
    assert found.quarantined == {"empty-text": 7}
    assert "quarantined: 7 empty-text" in "\n".join(table_lines("j", found))


@pytest.mark.integration
def test_a_table_in_the_making_is_told_from_its_folder_on_s3(s3, make_pairs):
    """Two of four shards are committed on a real S3 server: the status says so, and the run's lines contain it."""
    run = Folder(s3)
    write_pairs(run / "pairs", make_pairs([("q", f"d{i}", "query", f"text {i}", 1.0) for i in range(40)]))
    out = run / "judgements" / "lexical-1"
    plan = plan_stage(run / "pairs", out, "lexical-1", 10)
    for shard in plan.shards[:2]:
        commit(
            out, shard, "lexical-1", read_shard(run / "pairs", shard), QUARANTINE.empty_table(), {}, NOW - 9, NOW - 4
        )
    found = table_status(out, NOW)
    assert (found.shards, found.shards_done, found.rows, found.rows_done) == (4, 2, 40, 20)
    assert found.alive is None
    record = {"name": "demo", "started": "2026-01-01T00:00:00+00:00", "finished": None}
    record["stages"] = [{"name": "judge", "seconds": 0.0, "finished": None, "begun": "1970-01-01T02:45:00+00:00"}]
    text = "\n".join(run_lines(run, record, NOW))
    assert "judgements/lexical-1: 2 of 4 shards, 20 of 40 rows" in text
    assert "interrupted, begun 1 min 40 s ago" in text
    with held(run):
        assert "under way, begun 1 min 40 s ago" in "\n".join(run_lines(run, record, NOW))


def test_what_is_left_as_planned_leaves_out_what_is_done():
    """Finished stages cost nothing more, the one under way what is left of its plan; where nobody is at work no time is
    spent, and what an interrupted stage took is."""
    seconds = {"start": 10, "train-judge": 60, "judge": 100, "evaluate": 30}
    estimate = {"stages": [{"stage": name, "seconds": {"value": took}} for name, took in seconds.items()]}
    stages = [
        {"name": "train-judge", "finished": "x"},
        {"name": "judge", "finished": None, "begun": "1970-01-01T02:45:40+00:00"},
    ]
    assert planned_left(estimate, stages, NOW) == 40 + 30
    assert planned_left(estimate, stages, None) == 100 + 30
    stages[1]["seconds"] = 25.0
    assert planned_left(estimate, stages, NOW) == 15 + 30
    assert planned_left(estimate, stages, None) == 75 + 30
