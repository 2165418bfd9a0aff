"""Ray Data's loop in the driver looks at all tasks seven to ten times a second: here it sleeps while none has news.

A look takes half a hundredth of a second of a slow core. Where the engine has all cores its threads wait for the one
that was interrupted, so that a twentieth of a core costs a stage a twentieth of its speed (docs/experiments.md).
"""

from __future__ import annotations

from typing import Any

import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback

#: Looks in a row without news before the loop sleeps: what a task brought takes a few to be passed on.
LOOKS = 3
#: Seconds that it sleeps at most; a task's news end it sooner.
SLEEP_SECONDS = 1.0


class SleepsWithoutNews(ExecutionCallback):
    """Called by Ray Data after each look (`DataContext.custom_execution_callback_classes`), in the loop's thread."""

    def __init__(self):
        self._looks = 0

    def on_execution_step(self, executor: Any) -> None:
        """Sleep until a task has news, where the last looks found none."""
        tasks = [task.get_waitable() for operator in executor._topology for task in operator.get_active_tasks()]
        if not tasks:
            return
        seconds = SLEEP_SECONDS if self._looks >= LOOKS else 0
        news, _ = ray.wait(tasks, num_returns=1, timeout=seconds, fetch_local=False)
        self._looks = 0 if news else self._looks + 1
