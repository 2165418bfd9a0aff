"""Memory that the C allocator holds but nobody uses: kept from step to step on a CPU, given back before it piles up.

A page fault for each 4 KiB of each new tensor costs a tenth of the time. So large tensors come from the heap, which
stays mapped (`KEPT`). Batches of different lengths leave gaps of different sizes on it, and it would grow for hours.
Giving them back costs the next step its page faults; so it is done only where the process has grown.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: Environment variables of a process whose heap is kept, set before it starts.
KEPT = {
    "MALLOC_ARENA_MAX": "1",  # varying shapes make more arenas grow without bound
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
#: Steps (of a training; the shards of an engine) that show how much memory a process needs, and after which at the
#: earliest memory is given back.
STEPS = 10
#: Growth over that need at which it is given back.
GROWTH = 1.25


class Heap:
    """The heap of this process (glibc's; elsewhere nothing happens), looked after once a step.

    Args:
        kept: whether freed memory stays on it (`KEPT`); else there is nothing to look after.
    """

    def __init__(self, kept: bool):
        self._kept, self._need, self._steps = kept, 0, 0

    def start(self) -> None:
        """Give freed memory back, and see by the next steps how much is needed: before the first step, and after
        anything that is no step, whose garbage would pass for need.
        """
        if self._kept:
            release_free_memory()
        self._need, self._steps = 0, 0

    def after_step(self) -> bool:
        """Give freed memory back where what it holds has grown by a quarter since it last did; whether it did."""
        if not self._kept:
            return False
        held, self._steps = private_bytes(), self._steps + 1
        if self._steps <= STEPS:
            self._need = max(self._need, held)
            return False
        if held <= GROWTH * self._need:
            return False
        self.start()
        return True


def private_bytes() -> int:
    """Memory of this process that is there now and no file's: how much of its libraries' files is mapped differs by
    hundreds of MiB from machine to machine. 0 where the system does not tell (no Linux).
    """
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    _, resident, shared, *_ = map(int, statistics.read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGESIZE")


def release_free_memory() -> None:
    """Give memory that the C allocator holds but nobody uses back to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
