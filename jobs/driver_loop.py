"""Ray Data's loop looks at all its tasks seven to ten times a second: on a local Ray it sleeps while none has news.

The loop runs in the driver, and in each training worker for the rows that it reads. A look takes half a hundredth of a
second of a slow core. Where the engine has all cores its threads wait for the one that was interrupted, so that a
twentieth of a core costs a stage a twentieth of its speed (docs/experiments.md).
"""

from __future__ import annotations

from typing import Any

import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback

#: Looks in a row without news before the loop sleeps: what a task brought takes a few to be passed on. Rarely more,
#: then it is passed on up to `SLEEP_SECONDS` later.
LOOKS = 3
#: Seconds that it sleeps at most; a task's news end it sooner.
SLEEP_SECONDS = 1.0


class SleepsWithoutNews(ExecutionCallback):
    """Called by Ray Data after each look (`DataContext.custom_execution_callback_classes`), in the loop's thread."""

    def __init__(self):
        self._looks, self._tasks = 0, []

    def on_execution_step(self, executor: Any) -> None:
        """Sleep until a task has news, where the last looks found none."""
        before = self._tasks
        self._tasks = [task.get_waitable() for operator in executor._topology for task in operator.get_active_tasks()]
        if executor._shutdown or not self._tasks:
            return
        if self._tasks != before:  # what came was taken by this look itself
            self._looks = 0
        seconds = SLEEP_SECONDS if self._looks >= LOOKS else 0
        news, _ = ray.wait(self._tasks, num_returns=1, timeout=seconds, fetch_local=False)
        self._looks = 0 if news else self._looks + 1
