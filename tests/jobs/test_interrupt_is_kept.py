"""A Ctrl-C that Python swallows is not lost."""

from __future__ import annotations

import os
import signal

import pytest

from jobs import interrupt


@pytest.fixture(autouse=True)
def handler():
    """The handler of the tests' own process comes back."""
    before = signal.getsignal(signal.SIGINT)
    interrupt.remember()
    yield
    interrupt.remember()
    signal.signal(signal.SIGINT, before)


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


def _press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
