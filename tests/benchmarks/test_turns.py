"""Sides that take turns: one runs while the other is stopped, with all that each has started."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.process_tree import tree
from benchmarks.turns import Turn, seconds_of, take_turns

#: Works in a child process: writes what time it is, a thousand times a second at most.
WORKS = """
import subprocess, sys
child = '''
import sys, time
with open(sys.argv[1], "w") as out:
    for _ in range(int(sys.argv[2])):
        time.sleep(0.001)
        print(time.time(), file=out, flush=True)
'''
sys.exit(subprocess.run([sys.executable, "-c", child, *sys.argv[1:]]).returncode)
"""


def _sides(folder, stamps: int):
    """Commands of two sides that write so many times each, and whether they have begun."""
    files = {name: folder / name for name in ("one", "two")}
    commands = {
        name: partial(subprocess.Popen, [sys.executable, "-c", WORKS, str(file), str(stamps)])
        for name, file in files.items()
    }
    return commands, {name: partial(_begun, file) for name, file in files.items()}


def _begun(file) -> bool:
    return file.exists() and file.stat().st_size > 0


def _stamps(file) -> list[float]:
    return [float(line) for line in file.read_text().split()]


def _lives(process: int) -> bool:
    """Whether it is there, and no zombie that nobody has waited for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_only_one_side_runs_at_a_time(tmp_path):
    """Between its turns a side does nothing, its child processes neither; every turn of both is told."""
    commands, ready = _sides(tmp_path, 400)
    turns = take_turns(commands, ready, 0.1, ["two", "one"])
    assert [turn.side for turn in turns[:4]] == ["two", "one", "two", "one"]
    for name in commands:
        written = _stamps(tmp_path / name)
        own = [turn for turn in turns if turn.side == name]
        assert len(written) == 400
        assert len(own) > 2
        later = [stamp for stamp in written if stamp >= turns[0].started]
        assert all(any(turn.started <= stamp <= turn.ended for turn in own) for stamp in later)
    assert all(one.ended <= other.started for one, other in pairwise(turns))


def test_one_after_the_other(tmp_path):
    """Turns of 0 s: each side runs to its end, in the order asked for."""
    commands, ready = _sides(tmp_path, 20)
    turns = take_turns(commands, ready, 0, ["two", "one"])
    assert [turn.side for turn in turns] == ["two", "one"]
    assert _stamps(tmp_path / "two")[-1] <= turns[0].ended <= turns[1].started <= _stamps(tmp_path / "one")[0]


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_side_that_fails_ends_both(tmp_path, seconds):
    """Its code is told, and the other side is not left behind with its child, stopped or running."""
    commands, ready = _sides(tmp_path, 10_000)
    started = []

    def kept() -> subprocess.Popen:
        process = commands["one"]()
        while len(tree(process.pid)) < 2:
            time.sleep(0.01)
        started.extend(tree(process.pid))
        return process

    fails = partial(subprocess.Popen, [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="two: ended with code 3"):
        take_turns({"one": kept, "two": fails}, ready, seconds, ["one", "two"] if seconds else ["two", "one"])
    assert len(started) == (2 if seconds else 0)
    patience = time.monotonic() + 10
    while any(map(_lives, started)):
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_a_side_that_ends_at_once_was_never_ready(tmp_path):
    commands, ready = _sides(tmp_path, 20)
    ends = partial(subprocess.Popen, [sys.executable, "-c", ""])
    with pytest.raises(RuntimeError, match="two: ended before it was ready"):
        take_turns(commands | {"two": ends}, ready, 0.1, ["two", "one"])


def test_seconds_are_those_of_a_sides_own_turns():
    turns = [Turn("a", 0.0, 2.0), Turn("b", 2.0, 4.0), Turn("a", 4.0, 6.0), Turn("b", 6.0, 9.0)]
    assert seconds_of("a", turns, 1.0, 5.5) == 2.5
    assert seconds_of("b", turns, 3.0, 7.0) == 2.0
    assert seconds_of("a", turns, 2.5, 3.5) == 0.0
