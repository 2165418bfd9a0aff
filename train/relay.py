"""Lines from the training workers to whoever started the training, wherever they run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

#: Seconds between two looks for new lines.
INTERVAL = 1.0


class Board:
    """An actor that keeps the lines of a run until they are taken; on the driver's node, to be lost with it alone."""

    def __init__(self):
        self._lines: list[str] = []

    def post(self, line: str) -> None:
        self._lines.append(line)

    def take(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines


class Relay:
    """Passes a board's lines to `log` while the `with` block runs; `relay.board` is the actor's handle."""

    def __init__(self, log: Callable[[str], None]):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
        self._log, self._stop = log, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        import ray

        self._stop.set()
        self._thread.join()
        self._pass_on()
        ray.kill(self.board)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._pass_on()

    def _pass_on(self) -> None:
        """Nothing where the board has ended: a training does not depend on what is told of it."""
        import ray

        try:
            lines = ray.get(self.board.take.remote())
        except ray.exceptions.RayError:
            return
        for line in lines:
            self._log(line)
