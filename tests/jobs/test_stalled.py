"""When workers count as standing still: by a clock of the test's own, and in a thread."""

from __future__ import annotations

import re
import threading

from jobs import stalled
from jobs.cluster import PATIENCE_SECONDS
from jobs.stalled import LOOKS, MOST_SECONDS, STILL_SECONDS, STILL_SHARDS, Watch, watched


class _Clock:
    """Time that passes while it is looked at often enough, or at once while the process is stopped."""

    def __init__(self):
        self.now, self.ended, self.log = 0.0, [], []
        self.watch = Watch("judge", lambda: self.ended.append(self.now), self.log.append, lambda: self.now)

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + self.watch.patience / LOOKS)
            self.watch.look()

    def shard(self, seconds: float = 1.0) -> None:
        self.watch.finished(seconds)


def test_nothing_is_ended_before_the_first_shard():
    """Nodes may take hours to come, and engines long to start: there is nothing to measure by."""
    clock = _Clock()
    clock.pass_by(100 * STILL_SECONDS)
    assert clock.ended == []


def test_workers_are_ended_once_no_shard_came_for_longer_than_the_patience():
    """And are told of; the next ones have twice as long, until a shard is finished: then all is as at first."""
    clock = _Clock()
    clock.shard()
    clock.pass_by(3.5 * STILL_SECONDS)
    first, second = clock.ended
    assert STILL_SECONDS < first <= 1.1 * STILL_SECONDS
    assert 2 * STILL_SECONDS < second - first <= 2.2 * STILL_SECONDS
    assert re.fullmatch(
        r"judge: no shard for 18\d\d s, where the slowest took 1 s: its workers are ended, others start", clock.log[0]
    )
    clock.shard()
    begun = clock.now
    clock.pass_by(1.2 * STILL_SECONDS)
    assert STILL_SECONDS < clock.ended[2] - begun <= 1.1 * STILL_SECONDS


def test_workers_in_a_row_have_longer_up_to_an_end():
    """Ray Data gives up after a day without a shard: workers are ended a few more times before."""
    clock = _Clock()
    clock.shard()
    clock.pass_by(PATIENCE_SECONDS)
    assert 4 <= len(clock.ended) <= 8
    assert clock.ended[-1] - clock.ended[-2] <= 1.1 * MOST_SECONDS


def test_each_shard_starts_the_patience_anew_and_slow_ones_make_it_longer():
    clock = _Clock()
    for _ in range(3):
        clock.shard()
        clock.pass_by(0.9 * STILL_SECONDS)
    clock.shard(STILL_SECONDS)
    assert clock.watch.patience == STILL_SHARDS * STILL_SECONDS
    clock.pass_by(STILL_SHARDS * STILL_SECONDS)
    assert clock.ended == []


def test_workers_that_start_again_have_the_time_that_the_first_ones_took():
    """A node that comes after twenty minutes and loads a model for fifteen is no worker that stands still."""
    clock = _Clock()
    clock.pass_by(0.8 * STILL_SECONDS)
    clock.shard()
    clock.pass_by(1.5 * STILL_SECONDS)
    assert clock.ended == []
    clock.pass_by(0.3 * STILL_SECONDS)
    assert len(clock.ended) == 1


def test_time_in_which_the_driver_was_stopped_does_not_count():
    """A container that was frozen: its workers were, too."""
    clock = _Clock()
    clock.shard()
    clock.now += 10 * STILL_SECONDS
    clock.watch.look()
    assert clock.ended == []
    clock.pass_by(STILL_SECONDS)
    assert len(clock.ended) == 1


def test_a_thread_looks_while_the_block_runs(monkeypatch):
    """It ends workers while the block waits, and is gone with the block."""
    monkeypatch.setattr(stalled, "STILL_SECONDS", 0.1)
    ended = threading.Event()
    with watched("judge", ended.set, lambda line: None) as finished:
        finished(0.0)
        assert ended.wait(60)
    assert not [thread for thread in threading.enumerate() if thread.name == "stalled"]
