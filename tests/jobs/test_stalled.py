"""When workers count as standing still: by a clock of the test's own, and in a thread."""

from __future__ import annotations

import threading

from jobs import stalled
from jobs.stalled import STILL_SECONDS, STILL_SHARDS, Watch, watched


class _Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _watch() -> tuple[Watch, _Clock, list[float], list[str]]:
    clock, ended, log = _Clock(), [], []
    return Watch("judge", lambda: ended.append(clock.now), log.append, clock), clock, ended, log


def test_nothing_is_ended_before_the_first_shard():
    """Nodes may take hours to come, and engines long to start: there is nothing to measure by."""
    watch, clock, ended, _ = _watch()
    clock.now = 100 * STILL_SECONDS
    watch.look()
    assert ended == []


def test_workers_are_ended_once_no_shard_came_for_longer_than_the_patience():
    """And are told of; the next ones have twice as long."""
    watch, clock, ended, log = _watch()
    watch.finished(1.0)
    for clock.now in (STILL_SECONDS, STILL_SECONDS + 1, 3 * STILL_SECONDS, 3 * STILL_SECONDS + 2):
        watch.look()
    assert ended == [STILL_SECONDS + 1, 3 * STILL_SECONDS + 2]
    assert log[0] == "judge: no shard for 1801 s, where the slowest took 1 s: its workers are ended, others start"


def test_each_shard_starts_the_patience_anew_and_slow_ones_make_it_longer():
    watch, clock, ended, _ = _watch()
    for clock.now in (0.0, 0.9 * STILL_SECONDS, 1.8 * STILL_SECONDS):
        watch.finished(1.0)
        watch.look()
    watch.finished(STILL_SECONDS)
    assert watch.patience == STILL_SHARDS * STILL_SECONDS
    clock.now += STILL_SHARDS * STILL_SECONDS
    watch.look()
    assert ended == []


def test_a_thread_looks_while_the_block_runs(monkeypatch):
    """It ends workers while the block waits, and is gone with the block."""
    monkeypatch.setattr(stalled, "STILL_SECONDS", 0.1)
    ended = threading.Event()
    with watched("judge", ended.set, lambda line: None) as finished:
        finished(0.0)
        assert ended.wait(60)
    assert not [thread for thread in threading.enumerate() if thread.name == "stalled"]
