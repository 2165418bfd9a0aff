"""Progress as lines of text: how many so far and how fast, every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

_EVERY_SECONDS = 5.0


def watched(counts: Iterable[int], what: str, log: Callable[[str], None]) -> int:
    """Run through counts that grow, logging one now and then; returns the last (0 where there is none)."""
    started = last = time.monotonic()
    count = 0
    for count in counts:
        now = time.monotonic()
        if now - last >= _EVERY_SECONDS:
            log(f"prepare: {count:,} {what}, {count / (now - started):,.0f}/s")
            last = now
    return count
