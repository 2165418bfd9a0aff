"""Workers that stand still (a GPU hangs, Ray lost a message): ended, so that others start and get their shards.

A worker that ended is Ray's affair, and one that is slow nobody's. One that stands still looks like a slow one from
outside; what tells them apart is that no worker of the stage has finished a shard for very much longer than any took,
and for longer than workers take to start, as the run's own start showed. A worker that was slow after all loses the
shard in its hands, which is done again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds without a finished shard before workers are ended: at least, and at most unless shards take as long. Doubled
#: each time that it comes to that, until a shard is finished.
STILL_SECONDS, MOST_SECONDS = 1_800.0, 21_600.0
#: The same in times of the slowest shard of the run so far, and of the time that it took to the run's first one.
STILL_SHARDS, STILL_STARTS = 10, 2
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
    """What decides whether a stage stands still; time in which this process itself was stopped does not count."""

    def __init__(
        self,
        stage: str,
        end: Callable[[], None],
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stage, self._end, self._log, self._clock = stage, end, log, clock
        self._least, self._ended, self._slowest = STILL_SECONDS, 0, 0.0
        self._begun = self._looked = clock()
        self._still: float | None = None
        self._lock = threading.Lock()

    @property
    def patience(self) -> float:
        """Seconds without a finished shard before workers are ended."""
        return max(min(self._least * 2**self._ended, MOST_SECONDS), STILL_SHARDS * self._slowest)

    def finished(self, seconds: float) -> None:
        """A shard is finished; `seconds`: that it took."""
        with self._lock:
            if self._still is None:
                self._least = max(STILL_SECONDS, STILL_STARTS * (self._clock() - self._begun))
            self._slowest = max(self._slowest, seconds)
            self._ended, self._still, self._looked = 0, 0.0, self._clock()

    def look(self) -> None:
        """End the workers where patience is over."""
        with self._lock:
            before, self._looked = self._looked, self._clock()
            if self._still is None:
                return
            self._still += min(self._looked - before, 2 * self.patience / LOOKS)
            if self._still <= self.patience:
                return
            still, self._still = self._still, 0.0
            self._ended += 1
        self._log(
            f"{self._stage}: no shard for {still:.0f} s, where the slowest took {self._slowest:.0f} s: "
            "its workers are ended, others start"
        )
        self._end()
