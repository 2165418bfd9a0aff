"""Workers that stand still (a GPU hangs, Ray lost a message): ended, so that others start and get their shards.

A worker that ended is Ray's affair, and one that is slow nobody's. One that stands still looks like a slow one from
outside; what tells them apart is that no worker of the stage has finished a shard for very much longer than any took.
A worker that was slow after all loses the shard in its hands, which is done again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds without a finished shard before workers are ended, at least; doubled each time that it comes to that.
STILL_SECONDS = 1_800.0
#: The same in times of the slowest shard of the run so far.
STILL_SHARDS = 10
#: Looks a patience.
LOOKS = 20


@contextmanager
def watched(stage: str, end: Callable[[], None], log: Callable[[str], None]) -> Iterator[Callable[[float], None]]:
    """While the block runs, `end` is called where it stands still; gives what the block calls for each finished shard
    with the seconds that it took. Before the first shard there is nothing to measure by, and nothing is ended.

    Args:
        end: ends the stage's workers in a way that starts others.
    """
    watch, over = Watch(stage, end, log), threading.Event()

    def look() -> None:
        while not over.wait(watch.patience / LOOKS):
            watch.look()

    thread = threading.Thread(target=look, name="stalled", daemon=True)
    thread.start()
    try:
        yield watch.finished
    finally:
        over.set()
        thread.join()


class Watch:
    """What decides whether a stage stands still."""

    def __init__(
        self,
        stage: str,
        end: Callable[[], None],
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stage, self._end, self._log, self._clock = stage, end, log, clock
        self._least, self._slowest = STILL_SECONDS, 0.0
        self._moved: float | None = None

    @property
    def patience(self) -> float:
        """Seconds without a finished shard before workers are ended."""
        return max(self._least, STILL_SHARDS * self._slowest)

    def finished(self, seconds: float) -> None:
        """A shard is finished; `seconds`: that it took."""
        self._slowest = max(self._slowest, seconds)
        self._moved = self._clock()

    def look(self) -> None:
        """End the workers where patience is over."""
        if self._moved is None or (still := self._clock() - self._moved) <= self.patience:
            return
        self._log(
            f"{self._stage}: no shard for {still:.0f} s, where the slowest took {self._slowest:.0f} s: "
            "its workers are ended, others start"
        )
        self._end()
        self._least *= 2
        self._moved = self._clock()
