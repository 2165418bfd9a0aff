"""A Ctrl-C that Python swallows is not lost."""

from __future__ import annotations

import os
import signal

import pytest

from jobs import interrupt


@pytest.fixture(autouse=True)
def handler():
    """The handlers of the tests' own process come back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupt.remember()
    yield
    interrupt.remember()
    for number, own in before.items():
        signal.signal(number, own)


class Closing:
    """Gets the signal while it is destroyed, as a library's object might."""

    def __del__(self):
        _press()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_swallowed_interrupt_is_raised_at_the_next_check():
    """Nothing is raised where a destructor swallowed it; the next check raises, and so does each after it."""
    interrupt.check()
    closing = Closing()
    del closing
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    interrupt.remember()
    interrupt.check()


def test_an_interrupt_is_raised_at_once_as_well():
    """Where nothing swallows it, the signal raises KeyboardInterrupt as ever."""
    with pytest.raises(KeyboardInterrupt):
        _press()


def test_a_termination_is_an_interrupt_also_after_a_library_took_the_signal():
    """What `ray job stop` sends means Ctrl-C; joining a cluster puts another handler there, which is replaced again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupt.listen()
    with pytest.raises(KeyboardInterrupt):
        _press(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()


def _press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)
    for _ in range(1000):
        pass
