"""A process and everything below it; their memory, sampled while a block runs.

`pss_mib` is the proportional set size: a page shared by n processes counts 1/n in each, so that the sum is the memory
really used, files and Ray's shared object store included. Linux walks all pages for it and holds up the process that it
looks at: a tenth of a second a sample for Ray with two workers of a training. `own_mib` leaves out mapped files, counts
shared memory once, and reads counters: nobody waits for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


def pss_mib(root: int) -> float:
    """MiB of a process and all its descendants, by pages."""
    return sum(_kib(process, "smaps_rollup", "Pss") for process in tree(root)) / 1024


def own_mib(root: int) -> float:
    """MiB of a process and all its descendants without the files that they map; shared memory counts once."""
    processes = tree(root)
    shared = max((_kib(process, "status", "RssShmem") for process in processes), default=0)
    return (sum(_kib(process, "status", "RssAnon") for process in processes) + shared) / 1024


def tree(root: int) -> list[int]:
    """A process and all its descendants that live, parents first; none where it has ended."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(entry), []).append(int(entry.name))
    found = [root] if Path(f"/proc/{root}").exists() else []
    for process in found:
        found += children.get(process, [])
    return found


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
        return -1


def _kib(process: int, file: str, name: str) -> int:
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended while we looked
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


class MemorySampler:
    """Samples while entered; `samples` are (seconds since it started, MiB) of the whole tree.

    Example:
        >>> with MemorySampler(seconds=1) as memory: work()
        >>> memory.peak(0, 10)
    """

    def __init__(self, seconds: float = 1.0, measure: Callable[[int], float] = pss_mib):
        self.samples: list[tuple[float, float]] = []
        self._measure = measure
        self._seconds, self._stop = seconds, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemorySampler:
        self._started, self._entered = time.monotonic(), time.time()
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def now(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self._started

    def at(self, unix_time: float) -> float:
        """A file's time in seconds since it started."""
        return unix_time - self._entered

    def peak(self, start: float, stop: float) -> float:
        """Largest MiB between two times; where none was taken between, of the sample next to them."""
        between = [mib for second, mib in self.samples if start <= second <= stop]
        return max(between or [min(self.samples, key=lambda sample: abs(sample[0] - start))[1]])

    def _sample(self) -> None:
        while not self._stop.is_set():
            self.samples.append((self.now, self._measure(os.getpid())))
            self._stop.wait(self._seconds)
