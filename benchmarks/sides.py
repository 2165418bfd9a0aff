"""One side of a comparison in a process of its own: the same module with `--side`, its result as one line of output."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.process_tree import MemorySampler, own_mib

#: How a side's process hands over its result.
RESULT = "result: "
#: Between two samples of a side's memory.
SAMPLE_SECONDS = 5.0


def hand_over(found: dict) -> None:
    """Print the result of a side for the process that started it."""
    print(RESULT + json.dumps(found), flush=True)


def run_side(module: str, options: argparse.Namespace, names: Sequence[str], arguments: list[str]) -> dict:
    """The result of one side, with the greatest memory of its process tree beside it.

    Args:
        module: of this package; it takes `--out FOLDER`.
        names: options that all sides share.
        arguments: options of this side.
    """
    shared = [text for name in names for text in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]
    prefix = f"relabel-{module.replace('_', '-')}-"
    with tempfile.TemporaryDirectory(prefix=prefix) as out, MemorySampler(SAMPLE_SECONDS, own_mib) as memory:
        before = memory.now
        command = [sys.executable, "-m", f"benchmarks.{module}", *shared, *arguments, "--out", out]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peak = memory.peak(before, memory.now)
    line = next(line for line in reversed(done.stdout.splitlines()) if line.startswith(RESULT))
    return json.loads(line.removeprefix(RESULT)) | {"peak_mib": peak}
