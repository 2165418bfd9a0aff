"""Does the data plane stream? Synthetic pairs through judge → adjust with the judge that needs no model.

Compares, in one run, the peak memory of the whole process tree in the second half of each stage with that of its first
half (wanted: ≤ 1.2); a stage's first half ends when half of its shards are committed, its second with the stage.
Reports pairs a second through both stages together (wanted: ≥ 20,000 on 2 cores). Making the pairs and starting Ray are
not timed; planning, reading, judging, adjusting, committing, the change report and the reconciliations are.

Run: `python -m benchmarks.data_plane --rows 1000000`; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.process_tree import MemorySampler
from benchmarks.synthetic import write_pairs
from jobs.adjust import adjust
from jobs.cluster import connect
from jobs.judge import judge
from relabel.hardware import facts
from relabel.judges import JudgeConfig
from relabel.labels import AdjustConfig
from relabel.storage import Folder
from relabel.tables import read_manifest

WANTED_RATIO = 1.2
WANTED_RATE = 20_000


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rule", default="blend")
    parser.add_argument("--actors", type=int, default=2, help="lexical judge actors")
    parser.add_argument("--pairs", help="keep the synthetic pairs in this folder, or take them from there")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="relabel-data-plane-") as scratch:
        result = measure(options, Path(scratch))
    print(json.dumps(result))
    return result


def measure(options: argparse.Namespace, scratch: Path) -> dict:
    pairs = Folder(options.pairs or scratch / "pairs")
    if not pairs.exists("table.json"):
        started = time.monotonic()
        write_pairs(pairs, options.rows, options.seed)
        print(f"pairs: {options.rows:,} written in {time.monotonic() - started:.0f} s (not timed)", flush=True)
    rows = read_manifest(pairs, "pairs").rows
    connect()
    with MemorySampler() as memory:
        times = [memory.now]
        judgements, labels = Folder(scratch / "judgements"), Folder(scratch / "labels")
        judged = judge(JudgeConfig(pairs=pairs.uri, engine="lexical", actors=options.actors), judgements)
        times.append(memory.now)
        config = AdjustConfig(pairs=pairs.uri, judgements=judgements.uri, rule=options.rule)
        labelled = adjust(config, labels)
        times.append(memory.now)
    middles = [memory.at(half_done(folder)) for folder in (judgements, labels)]
    stages = {
        name: of_stage(memory, start, middle, stop, rows)
        for name, start, middle, stop in zip(("judge", "adjust"), times[:-1], middles, times[1:], strict=True)
    }
    seconds = times[-1] - times[0]
    ratio = max(stage["ratio"] for stage in stages.values())
    return {
        "benchmark": "data_plane",
        "ratio": ratio,
        "pairs_per_second": round(rows / seconds),
        "holds": ratio <= WANTED_RATIO and rows / seconds >= WANTED_RATE,
        "rows": rows,
        "rows_add_up": judged.rows + judged.quarantined == rows == labelled.rows,
        "judge": stages["judge"],
        "adjust": stages["adjust"],
        "seconds": round(seconds, 1),
        "rule": options.rule,
        "actors": options.actors,
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }


def half_done(out: Folder) -> float:
    """Unix time at which half of a stage's markers were written."""
    written = sorted(Path(out.path(f"markers/{name}")).stat().st_mtime for name in (out / "markers").names())
    return written[len(written) // 2]


def of_stage(memory: MemorySampler, start: float, middle: float, stop: float, rows: int) -> dict:
    """Seconds, rate, peak MiB of both halves and their ratio."""
    first, second = memory.peak(start, middle), memory.peak(middle, stop)
    return {
        "seconds": round(stop - start, 1),
        "pairs_per_second": round(rows / (stop - start)),
        "peak_mib_first_half": round(first),
        "peak_mib_second_half": round(second),
        "ratio": round(second / first, 3),
    }


if __name__ == "__main__":
    main()
