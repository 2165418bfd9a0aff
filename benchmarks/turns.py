"""Commands that take turns of some seconds on the same cores: what slows the machine meets all alike.

On shared machines the same work takes a tenth more or less from one minute to the next. Sides that run one after
another then differ by that much, however equal they are. Here all live at once and the processes of all but one are
stopped (SIGSTOP); a side's seconds are those of its own turns.

A side that waits for a clock gets that for nothing while it is stopped, a tenth of a second a turn at most; what it
does every few seconds by a clock comes more often in its own. What an accelerator has been given goes on, so that turns
compare sides that compute on the CPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle

from benchmarks.process_tree import tree

#: Between two looks at whether sides are ready or have ended, seconds.
LOOK = 0.01
#: Seconds that a side which was cut short has to end in.
PATIENCE = 10.0


@dataclass(frozen=True)
class Turn:
    """Unix seconds from which and to which a side ran while the others were stopped."""

    side: str
    started: float
    ended: float


def take_turns(
    commands: Mapping[str, Callable[[], subprocess.Popen]],
    ready: Mapping[str, Callable[[], bool]],
    seconds: float,
    order: Sequence[str],
) -> list[Turn]:
    """Start each side alone, stop it when it is ready, then let them go on in turns until all have ended.

    Args:
        commands: starts the first process of a side.
        ready: whether a side has started up; what it does from then on is compared.
        seconds: of a turn. 0: one side after the other, each to its end.
        order: the sides' names; the first has the first turn.

    Raises:
        RuntimeError: where a side ends before it is ready, or with another code than 0.
    """
    sides: dict[str, _Side] = {}
    ends = signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # sides that are stopped would stay
    try:
        if not seconds:
            return [_alone(name, commands[name]) for name in order]
        for name in order:
            sides[name] = _Side(name, commands[name]())
            while not ready[name]():
                if sides[name].ended:
                    raise RuntimeError(f"{name}: ended before it was ready")
                time.sleep(LOOK)
            sides[name].stop()
        turns = []
        for name in cycle(order):
            side, others = sides[name], [other for other in sides.values() if other.name != name and not other.ended]
            if not side.ended:
                turns.append(side.turn(seconds if others else None))
            elif not others:
                return turns
    finally:
        for side in sides.values():
            side.close()
        signal.signal(signal.SIGTERM, ends)


def seconds_of(side: str, turns: Sequence[Turn], started: float, ended: float) -> float:
    """Seconds between two times (Unix) in which a side had its turn."""
    own = [(max(turn.started, started), min(turn.ended, ended)) for turn in turns if turn.side == side]
    return sum(stop - start for start, stop in own if stop > start)


def _alone(name: str, command: Callable[[], subprocess.Popen]) -> Turn:
    side = _Side(name, command())
    try:
        return side.turn(None)
    finally:
        side.close()


class _Side:
    """A process with everything below it."""

    def __init__(self, name: str, process: subprocess.Popen):
        self.name, self.process, self._stopped = name, process, []

    @property
    def ended(self) -> bool:
        """Whether its first process has; raises where with another code than 0."""
        code = self.process.poll()
        if code:
            raise RuntimeError(f"{self.name}: ended with code {code}")
        return code is not None

    def turn(self, seconds: float | None) -> Turn:
        """Go on for so long (None: to the end), then stop."""
        started = time.time()
        self._go_on()
        while not self.ended and (seconds is None or time.time() - started < seconds):
            time.sleep(LOOK)
        self.stop()
        return Turn(self.name, started, time.time())

    def stop(self) -> None:
        """Stop all processes, those too that a process starts while this one stops others."""
        while fresh := [process for process in tree(self.process.pid) if process not in self._stopped]:
            self._signal(fresh, signal.SIGSTOP)
            self._stopped += fresh

    def _go_on(self) -> None:
        self._signal(reversed(self._stopped), signal.SIGCONT)
        self._stopped = []

    def close(self) -> None:
        """Leave nothing stopped, and nothing running where it was cut short."""
        below = tree(self.process.pid)
        self._go_on()
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
            self._signal(below, signal.SIGKILL)
            self.process.wait()

    def _signal(self, processes: Iterable[int], number: signal.Signals) -> None:
        for process in processes:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process, number)
