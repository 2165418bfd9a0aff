"""What do two cores of this machine give of one? The most that two one-core workers could be of one.

One process bound to the first core, one bound to the second, then both at once, each with the forward and backward
pass of the same encoder in torch alone: no exchange, no optimizer, no Ray. They take turns, so that what slows the
machine slows all. What is short of twice is the machine's: cores that share a physical one, caches and memory that both
read, a clock that falls when a neighbour wakes. The ratio is both together over the mean of each alone.

    python -m benchmarks.cores

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection

from relabel.hardware import compute_dtype, facts
from relabel.models import local_model


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16, help="pairs of a step")
    parser.add_argument("--tokens", type=int, default=84, help="of a pair, the mean of TREC DL's")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--model", default="all-minilm-l6-v2")
    options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit(f"this process may use core {cores[0]} alone, two are wanted: run it where it has two")
    start = multiprocessing.get_context("spawn")
    model = str(local_model(options.model))
    ends, workers = [], []
    for core in cores:
        ours, theirs = start.Pipe()
        own = (theirs, core, model, options.pairs, options.tokens)
        workers.append(start.Process(target=_work, args=own, daemon=True))
        workers[-1].start()
        theirs.close()  # so that a worker that dies is the end of its pipe, not a wait for ever
        ends.append(ours)
    for end in ends:
        end.recv()
    first, second = ends
    turns = []
    for _ in range(options.repetitions):
        alone = [*_rates([first], options.seconds), *_rates([second], options.seconds)]
        turns.append({"alone": alone, "together": _rates(ends, options.seconds)})
    for end in ends:
        end.send(None)
    for worker in workers:
        worker.join()
    ratios = [sum(turn["together"]) / statistics.mean(turn["alone"]) for turn in turns]
    result = {
        "benchmark": "cores",
        "ratio": {"two cores / one": round(statistics.median(ratios), 3)},
        "holds": None,
        "ratios": [round(ratio, 3) for ratio in ratios],
        "pairs_per_second": {
            name: [round(rate, 2) for turn in turns for rate in turn[name]] for name in ("alone", "together")
        },
        **{name: getattr(options, name) for name in ("pairs", "tokens", "model")},
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }
    print(json.dumps(result))
    return result


def _rates(ends: list[Connection], seconds: float) -> list[float]:
    """Pairs a second of each process, all of them at work for that long."""
    for end in ends:
        end.send(seconds)
    return [end.recv() for end in ends]


def _work(end: Connection, core: int, model: str, pairs: int, tokens: int) -> None:
    """Told a number of seconds: as many steps as go into them, answered with pairs a second. None: the end."""
    os.sched_setaffinity(0, {core})
    import torch
    from transformers import AutoModel

    torch.set_num_threads(1)
    encoder = AutoModel.from_pretrained(model, dtype=compute_dtype("auto", False).value)
    ids = torch.randint(1000, 20000, (pairs, tokens), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        encoder.zero_grad()
        encoder(input_ids=ids).last_hidden_state[:, 0].float().square().mean().backward()

    step()
    end.send("ready")
    while (seconds := end.recv()) is not None:
        done, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            step()
            done += 1
        end.send(pairs * done / passed)


if __name__ == "__main__":
    main()
