"""Ctrl-C that is not lost: the signal is remembered beside the KeyboardInterrupt that it raises.

Python swallows a KeyboardInterrupt that is raised while a destructor or a callback of another library runs, and a stage
would then go on to its end. Long loops ask `check` between two pieces of work. A SIGTERM, which `ray job stop` sends,
means the same.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_pressed = threading.Event()
_remembering = False


def remember() -> None:
    """From now on a SIGINT or SIGTERM is remembered; what came before is forgotten. Only in the main thread."""
    global _remembering
    _pressed.clear()
    _remembering = True
    listen()


def listen() -> None:
    """Take the signals again after a library took them (joining a Ray cluster does), where they are remembered."""
    if _remembering and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _on_signal)
        signal.signal(signal.SIGTERM, _on_signal)


def check() -> None:
    """Raises KeyboardInterrupt where Ctrl-C was pressed since `remember`, swallowed or not."""
    if _pressed.is_set():
        raise KeyboardInterrupt


def _on_signal(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)
