"""What the chaos tests share: a table of pairs, stages on the cluster, faults at a moment, and counting rows."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from relabel.judges import JudgeConfig
from relabel.records import KEY, QUARANTINE
from relabel.storage import Folder
from relabel.tables import Manifest, keys_of, read_manifest, read_whole
from tests.jobs import stage_runs
from tests.jobs.stage_runs import shards_done, write_pairs

#: Rows of the table, and of a shard.
ROWS, SHARD_ROWS = 480, 16
WAIT_SECONDS = 120
#: By how much probabilities of one pair may differ between engines.
TOLERANCE = 0.02


@dataclass
class Tally:
    """What a chaos test found, for the record: rows lost and doubled, None until they were counted."""

    lost: int | None = None
    doubled: int | None = None

    def count(self, whole: Folder, out: Folder) -> None:
        """Count rows lost and doubled against the undisturbed table, and assert that there are none."""
        self.rows(_keys(whole), out)

    def rows(self, keys: Iterable[tuple[str, str]], out: Folder) -> None:
        """Count rows lost and doubled of a judgements table that should have these keys, and assert that none are."""
        expected, found = Counter(keys), _keys(out)
        self.lost = (self.lost or 0) + sum((expected - found).values())
        self.doubled = (self.doubled or 0) + sum((found - expected).values())
        assert (self.lost, self.doubled) == (0, 0)

    def same_tables(self, whole: Folder, out: Folder) -> None:
        """Count, then assert that judgements, quarantine and counts equal those of the undisturbed table."""
        self.count(whole, out)
        assert read_whole(out, "judgements").equals(read_whole(whole, "judgements"))
        assert quarantined(out).equals(quarantined(whole))
        one, other = read_manifest(whole), read_manifest(out)
        assert (one.rows_in, one.rows, one.quarantined) == (other.rows_in, other.rows, other.quarantined)

    def near_tables(self, whole: Folder, out: Folder) -> float:
        """Count, then assert that keys and quarantine equal those of the undisturbed table and that probabilities are
        within TOLERANCE: of engines whose batches differ. Returns the largest difference of a probability.
        """
        self.count(whole, out)
        assert quarantined(out).equals(quarantined(whole))
        difference = largest_difference(whole, out)
        assert difference <= TOLERANCE
        return difference


def largest_difference(whole: Folder, out: Folder) -> float:
    """Between the probabilities of two judgements tables; their keys must be the same, in the same order."""
    expected, found = read_whole(whole, "judgements"), read_whole(out, "judgements")
    assert keys_of(found) == keys_of(expected)
    one, other = (np.vstack(table["probabilities"].to_numpy()) for table in (expected, found))
    return float(np.abs(one - other).max())


def quarantined(table: Folder) -> pa.Table:
    """All quarantined rows of a table."""
    parts = (table / "quarantine").names("part-", ".parquet")
    tables = [table.read_table(f"quarantine/{part}") for part in parts]
    return pa.concat_tables([QUARANTINE.empty_table(), *tables]).combine_chunks()


def _keys(table: Folder) -> Counter:
    keys = keys_of(read_whole(table, "judgements", list(KEY)))
    return Counter(keys) + Counter(keys_of(quarantined(table)))


def write_table(folder: Folder, make_pairs: Callable, extra: dict[int, str] | None = None, rows: int = ROWS) -> None:
    """A pairs table with two rows that cannot be judged; `extra` replaces the text of rows."""
    chance = random.Random(7)
    words = [f"word{number}" for number in range(400)]
    table = []
    for row in range(rows):
        text = " ".join(chance.choices(words, k=30))
        query = f"what is {words[row // 20 % 400]} {words[row % 7]}"
        table.append((f"q{row // 20}", f"d{row}", query, (extra or {}).get(row, text), row % 2))
    table[5] = (*table[5][:3], "  ", 0)
    table[77] = (*table[77][:2], " ", *table[77][3:])
    write_pairs(folder, make_pairs(table), part_rows=100)


def settings(pairs: Folder, **changes) -> JudgeConfig:
    values = {"pairs": pairs.uri, "engine": "lexical", "prompt": "terse-0-3", "shard_rows": SHARD_ROWS, "actors": 2}
    return JudgeConfig(**values | changes)


def judged(config: JudgeConfig, out: Folder, log: list[str] | None = None) -> Manifest:
    """Run the judge's stage from this process on the cluster that it has joined."""
    from jobs.judge import judge

    return judge(config, out, (log if log is not None else []).append)


@contextmanager
def meanwhile(moment: Callable[[], bool], fault: Callable[[], None]) -> Iterator[None]:
    """Cause `fault` once `moment` has come, while the block runs; fails where the moment never came."""
    over, errors, happened = threading.Event(), [], threading.Event()

    def watch() -> None:
        try:
            while not over.wait(0.02):
                if moment():
                    fault()
                    happened.set()
                    return
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(WAIT_SECONDS)
    if errors:
        raise errors[0]
    assert happened.is_set(), "the run ended before its fault came"


def wait_for(moment: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not moment():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def done(out: Folder, shards: int) -> Callable[[], bool]:
    return lambda: shards_done(out) >= shards


class Actors:
    """Processes of Ray actors on this machine, of any node, that were not there when this was made.

    Args:
        name: part of the actor's name; that of a stage's workers by default.
    """

    def __init__(self, name: str = "(_Worker)"):
        self._name, self._before = name, set()
        self._before = {process.pid for process in self.now()}

    def now(self) -> list[psutil.Process]:
        """Those that live now, by process id."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                title = process.cmdline()[0]
            except (psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
                continue
            if title.startswith("ray::") and self._name in title and process.pid not in self._before:
                found.append(process)
        return sorted(found, key=lambda process: process.pid)


def done_by(out: Folder) -> list[dict]:
    """What the marker of each shard says of the worker that did it: `process`, `node`, `actor`."""
    return [(out / "markers").read_json(name)["facts"]["worker"] for name in (out / "markers").names()]


def nodes(out: Folder) -> set[str]:
    """The nodes on which shards were done."""
    return {worker["node"] for worker in done_by(out)}


def driver(arguments: list[str], log: Path, trouble: dict | None = None, **environment: str) -> subprocess.Popen:
    """`relabel …` as a process of its own on the cluster, its judge troubled as told."""
    command = [sys.executable, "-m", "tests.chaos.drive", json.dumps(trouble or {}), *arguments]
    root = Path(__file__).parents[2]
    with log.open("ab") as stream:
        return subprocess.Popen(
            command, cwd=root, stdout=stream, stderr=stream, start_new_session=True, env=os.environ | environment
        )


def options(config: JudgeConfig, out: Folder) -> list[str]:
    """The command line of `judged`."""
    told = {name: getattr(config, name) for name in ("pairs", "engine", "prompt", "shard_rows", "actors")}
    return ["judge", *stage_runs.options(told), "--out", out.uri]
