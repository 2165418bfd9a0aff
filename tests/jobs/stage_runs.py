"""Running a stage as a person would, in a process of its own, and killing all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from relabel.ledger import finished_shards, read_plan
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import TableWriter


def write_pairs(folder: Folder, rows: pa.Table, part_rows: int = 500) -> None:
    """A finished pairs table of these rows with binary labels."""
    writer = TableWriter(folder, "pairs", Scale((0, 1), 1), part_rows=part_rows)
    writer.write(rows)
    writer.finish()


def start_stage(stage: str, arguments: list[str], log: Path) -> subprocess.Popen:
    """`python -m jobs.<stage>` in its own process group, its output added to `log`."""
    command = [sys.executable, "-m", f"jobs.{stage}", *arguments]
    root = Path(__file__).parents[2]
    with log.open("ab") as stream:
        return subprocess.Popen(command, cwd=root, stdout=stream, stderr=stream, start_new_session=True)


def options(values: dict) -> list[str]:
    """These fields of a configuration as the command line has them."""
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def kill_when(process: subprocess.Popen, condition: Callable[[], bool], seconds: float = 300) -> None:
    """Kill -9 the process and every process below it once `condition` holds; fails if it ends before."""
    import psutil

    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the judge ended before it was to be killed"
        assert time.monotonic() < end, "the moment to kill never came"
        time.sleep(0.02)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            os.kill(member.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(30)
    psutil.wait_procs(family, timeout=30)


def shards_done(out: Folder) -> int:
    """Shards with a marker, whether or not the plan is there yet."""
    return len((out / "markers").names(suffix=".json"))


def markers(out: Folder) -> dict[int, dict]:
    """The valid markers of a table as JSON values."""
    return {index: out.read_json(f"markers/{index:05d}.json") for index in finished_shards(out, read_plan(out))}
