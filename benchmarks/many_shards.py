"""A hundred thousand shards: does the driver still fit, and how long until a resumed run goes on?

Three parts over one synthetic pairs table with `--shards` shards of ten rows, on local disk or on a real S3 server:

1. `ray`: the real stage with all shards to do, stopped after `--through-ray` of them: what Ray Data's driver takes.
2. `fake_actors`: a thousand fake actors (threads in two other processes, which sleep a second on average and then
   commit with the real ledger) do the rest but `--left`, while this process takes their markers as the driver does.
   How fast they are is two cores' matter; what is measured is the driver's own time a shard, and its memory.
3. `resume`: the time from nothing to the first shard to do (plan check and ledger scan), wanted < 60 s on local disk
   and < 120 s on S3; then the real stage does what is left and balances the books. Driver memory < 2 GiB throughout.

Run: `python -m benchmarks.many_shards --shards 100000`, and with `--s3`; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.synthetic import write_pairs
from jobs import shards
from jobs.judge import JudgeWorker, resolve, stage_of
from relabel.hardware import facts
from relabel.judges import JudgeConfig
from relabel.ledger import Marker, MarkerIndex, Plan, commit, finished_shards, plan_stage, read_shard
from relabel.progress import Progress
from relabel.storage import Folder

SHARD_ROWS = 10
#: Seconds until a resumed run knows what is left, and MiB of the driver.
WANTED = {"local": 60, "s3": 120}
WANTED_MIB = 2048
#: Processes that the fake actors' threads share, and how many shards such a process takes at once.
PROCESSES, TAKEN_AT_ONCE = 2, 50
#: Threads of such a process that judge or commit at once.
AT_WORK = 4


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--through-ray", type=int, default=3_000, help="shards that the first, stopped run does")
    parser.add_argument("--left", type=int, default=2_000, help="shards that are left for the resumed run")
    parser.add_argument("--fake-actors", type=int, default=1_000)
    parser.add_argument("--s3", action="store_true", help="the judgements on a real S3 server on this machine")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="relabel-many-shards-") as scratch, _store(options.s3, scratch) as out:
        result = measure(options, Path(scratch), out)
    print(json.dumps(result))
    return result


@contextmanager
def _store(s3: bool, scratch: str) -> Iterator[Folder]:
    if not s3:
        yield Folder(f"{scratch}/judgements")
        return
    from tests.s3_server import s3_server

    with s3_server() as server:
        os.environ.update(server.environment)
        yield Folder(f"s3://{server.bucket}/judgements")


def measure(options: argparse.Namespace, scratch: Path, out: Folder) -> dict:
    pairs = Folder(scratch / "pairs")
    write_pairs(pairs, options.shards * SHARD_ROWS, 0)
    config = JudgeConfig(pairs=pairs.uri, engine="lexical", shard_rows=SHARD_ROWS, actors=2, num_gpus=0)
    dtype, name = resolve(config)
    stage = stage_of(config, name, dtype)
    through_ray = _stopped_run(stage, pairs, out, options.through_ray)
    plan = plan_stage(pairs, out, stage.task_id, SHARD_ROWS)
    fake = _fake_actors(config, plan, pairs, out, options)
    resume = _resumed_run(stage, pairs, out)
    where = "s3" if options.s3 else "local"
    peak = max(part["driver_mib"] for part in (through_ray, fake, resume))
    return {
        "benchmark": "many_shards",
        "store": where,
        "shards": options.shards,
        "resume_seconds": resume["seconds"],
        "driver_mib": peak,
        "holds": resume["seconds"] < WANTED[where] and peak < WANTED_MIB and resume["rows_add_up"],
        "ray": through_ray,
        "fake_actors": fake,
        "resume": resume,
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }


class _Enough(Exception):
    """Raised by a log that has seen enough shards done."""


def _stopped_run(stage: shards.Stage, pairs: Folder, out: Folder, count: int) -> dict[str, Any]:
    """The real stage with everything to do, stopped after `count` shards or so."""
    from jobs.cluster import connect

    connect()
    started, times = time.monotonic(), []

    def log(line: str) -> None:
        done = int(line.split()[1].replace(",", "")) if " of " in line and " pairs (" in line else 0
        times.append((time.monotonic(), done // SHARD_ROWS))
        if done >= count * SHARD_ROWS:
            raise _Enough

    cpu = time.process_time()
    with _PeakMemory() as memory, suppress(_Enough):
        shards.run_stage(stage, pairs, out, log)
    (first, one), (last, other) = times[0], times[-1]
    return {
        "seconds_to_first_line": round(first - started, 1),
        "shards": other,
        "shards_per_second": round((other - one) / max(last - first, 1e-9), 1),
        "driver_cpu_ms_a_shard": round(1000 * (time.process_time() - cpu) / other, 2),
        "driver_mib": memory.peak,
    }


def _fake_actors(
    config: JudgeConfig, plan: Plan, pairs: Folder, out: Folder, options: argparse.Namespace
) -> dict[str, Any]:
    """Fake actors commit what is to do but `left`; this process does for each marker what the driver does."""
    done = finished_shards(out, plan)
    todo = [shard.index for shard in plan.shards if shard.index not in done][: -options.left]
    context = multiprocessing.get_context("spawn")
    wanted, made = context.Queue(), context.Queue()
    for start in range(0, len(todo), TAKEN_AT_ONCE):
        wanted.put(todo[start : start + TAKEN_AT_ONCE])
    threads = options.fake_actors // PROCESSES
    processes = [
        context.Process(target=_host, args=(config, plan, pairs, out, threads, wanted, made)) for _ in range(PROCESSES)
    ]
    for process in processes:
        wanted.put(None)
        process.start()
    lines: list[str] = []
    progress, index = Progress("judge", plan.rows, 0, "pairs", lines.append), MarkerIndex(out)
    started, cpu = time.monotonic(), time.process_time()
    with _PeakMemory() as memory:
        for _ in todo:
            marker = Marker(**json.loads(made.get(timeout=600)))
            index.add(marker)
            progress.advance(marker.rows_in)
        index.flush()
    seconds = time.monotonic() - started
    for process in processes:
        process.join()
    return {
        "fake_actors": threads * PROCESSES,
        "shards": len(todo),
        "shards_per_second": round(len(todo) / seconds, 1),
        "driver_cpu_ms_a_shard": round(1000 * (time.process_time() - cpu) / len(todo), 3),
        "driver_mib": memory.peak,
    }


def _host(config: JudgeConfig, plan: Plan, pairs: Folder, out: Folder, threads: int, wanted: Any, made: Any) -> None:
    """Fake actors as threads: each takes a shard, sleeps as if it judged, then judges without a model and commits.

    `AT_WORK` of them do so at once: hundreds that wait for one interpreter spend it on handing it over.
    """
    worker, at_work = JudgeWorker(config, plan.task_id), threading.BoundedSemaphore(AT_WORK)
    chance, lock, waiting = random.Random(os.getpid()), threading.Lock(), []

    def next_shard() -> int | None:
        with lock:
            if not waiting:
                taken = wanted.get()
                if taken is None:
                    wanted.put(None)
                    return None
                waiting.extend(reversed(taken))
            return waiting.pop()

    def actor() -> None:
        while (number := next_shard()) is not None:
            started = time.time()
            time.sleep(chance.expovariate(1.0))
            shard = plan.shards[number]
            with at_work:
                judged = worker(read_shard(pairs, shard), shard)
                made.put(json.dumps(asdict(commit(out, shard, plan.task_id, *judged, started, time.time()))))

    actors = [threading.Thread(target=actor) for _ in range(threads)]
    for one in actors:
        one.start()
    for one in actors:
        one.join()


def _resumed_run(stage: shards.Stage, pairs: Folder, out: Folder) -> dict[str, Any]:
    """Seconds until it is known what is left, in a fresh process's terms: nothing is kept from before."""
    with _PeakMemory() as memory:
        started = time.monotonic()
        plan = plan_stage(Folder(pairs.uri), Folder(out.uri), stage.task_id, SHARD_ROWS)
        planned = time.monotonic()
        done = len(finished_shards(Folder(out.uri), plan))
        scanned = time.monotonic()
        manifest = shards.run_stage(stage, pairs, out)
        finished = time.monotonic()
    return {
        "seconds": round(scanned - started, 1),
        "plan_check_seconds": round(planned - started, 1),
        "ledger_scan_seconds": round(scanned - planned, 1),
        "shards_found_done": done,
        "shards_done_now": len(plan.shards) - done,
        "seconds_for_these_and_the_books": round(finished - scanned, 1),
        "rows_add_up": manifest.rows + manifest.quarantined == plan.rows,
        "driver_mib": memory.peak,
    }


class _PeakMemory:
    """Peak resident MiB of this process alone, sampled every tenth of a second while the context lasts."""

    def __enter__(self) -> _PeakMemory:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(0.1):
            self.peak = max(self.peak, round(process.memory_info().rss / 2**20))


if __name__ == "__main__":
    main()
