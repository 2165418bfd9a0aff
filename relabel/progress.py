"""How far a job is, as lines of text: done, rate, time left; at most one every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

#: Seconds between two lines.
INTERVAL = 5.0


class Progress:
    """Counts rows done and logs a line now and then, and one at the end.

    Args:
        total: rows in all; `before`: those done by an earlier run, which do not count for the rate.
    """

    def __init__(self, name: str, total: int, before: int, unit: str, log: Callable[[str], None] = print):
        self._name, self._total, self._before, self._unit, self._log = name, total, before, unit, log
        self._done, self._started, self._last = before, time.monotonic(), time.monotonic()

    def advance(self, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        if now - self._last < INTERVAL and self._done < self._total:
            return
        self._last = now
        rate = (self._done - self._before) / max(now - self._started, 1e-9)
        left = (self._total - self._done) / rate if rate else 0
        share = self._done / max(self._total, 1)
        self._log(
            f"{self._name}: {self._done:,} of {self._total:,} {self._unit} ({share:.0%}), "
            f"{rate:,.1f}/s, {duration(left)} left"
        )


def watched(counts: Iterable[int], name: str, unit: str, log: Callable[[str], None]) -> int:
    """Run through counts that grow to an unknown total, logging one now and then; returns the last (0 for none)."""
    started = last = time.monotonic()
    count = 0
    for count in counts:
        now = time.monotonic()
        if now - last >= INTERVAL:
            log(f"{name}: {count:,} {unit}, {count / (now - started):,.0f}/s")
            last = now
    return count


def duration(seconds: float) -> str:
    """`75` → `1 min 15 s`, `3725` → `1 h 02 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
