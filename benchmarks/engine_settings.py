"""Which settings of the engine are the fastest on this machine? The judge's own against each of them changed.

The same prompts (the demo's questions with documents of its collection) go through bare engines of vLLM with the
judge's options and environment, one change a side; `two engines` has two of them at once with half of the threads and
half of the prompts each. A side's engines start first, are not timed doing so, and get a prompt each before; how long
they took to start is in the result. Rates are medians over repetitions, in each of which the sides take turns.

Run: `python -m benchmarks.engine_settings --pairs 128`; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from benchmarks.judge_rate import bare_actor, prompts_of, write_demo_pairs
from jobs.cluster import connect
from jobs.judge import on_this_cluster, resolve
from relabel.hardware import facts
from relabel.judges import JudgeConfig
from relabel.storage import Folder

OURS = "ours"


@dataclass(frozen=True)
class Side:
    """One change.

    Attributes:
        config: fields of the judge's configuration.
        engine: arguments of `vllm.LLM`.
        engines: how many at once.
    """

    config: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    engines: int = 1


CPU = {
    OURS: Side(),
    "blocks of 64 tokens": Side({"block_size": 64}),
    "blocks of 128 tokens": Side({"block_size": 128}),
    "no shared prefixes": Side(engine={"enable_prefix_caching": False}),
    "2,048 tokens a batch": Side({"max_num_batched_tokens": 2048}),
    "two engines": Side({"actors": 2}, engines=2),
    "compiled": Side({"compiled": True}),
}
GPU = {
    OURS: Side(),
    "blocks of 32 tokens": Side({"block_size": 32}),
    "no shared prefixes": Side(engine={"enable_prefix_caching": False}),
    "2,048 tokens a batch": Side({"max_num_batched_tokens": 2048}),
    "32,768 tokens a batch": Side({"max_num_batched_tokens": 32768}),
    "two engines": Side({"num_gpus": 0.5}, engines=2),
    "compiled, with CUDA graphs": Side({"compiled": True}),
}


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prompt", default="terse-0-3")
    parser.add_argument("--max-document-tokens", type=int, default=96)
    parser.add_argument("--only", nargs="*", metavar="SIDE", help=f"beside {OURS!r}; default: all of this hardware")
    options = parser.parse_args(arguments)
    connect()
    with tempfile.TemporaryDirectory(prefix="relabel-engine-settings-") as scratch:
        result = measure(options, Path(scratch))
    print(json.dumps(result, ensure_ascii=False))
    return result


def measure(options: argparse.Namespace, scratch: Path) -> dict:
    pairs = Folder(scratch / "pairs")
    write_demo_pairs(pairs, options.pairs, seed=0)
    config = JudgeConfig(
        pairs=pairs.uri,
        engine="vllm",
        model=options.model,
        prompt=options.prompt,
        max_document_tokens=options.max_document_tokens,
    )
    config = on_this_cluster(config)
    dtype = resolve(config)[0]
    prompts, longest, label_ids = prompts_of(config, in_order_of_the_pipeline=True)
    sides = GPU if config.on_gpu else CPU
    chosen = [name for name in sides if name == OURS or options.only is None or name in options.only]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for repetition in range(options.repetitions):
        for name in chosen if repetition % 2 == 0 else reversed(chosen):
            runs[name].append(run(sides[name], config, dtype, prompts, longest, label_ids))
            print(f"{name}: {runs[name][-1]}", flush=True)
    rates = {name: statistics.median(one["pairs_per_second"] for one in found) for name, found in runs.items()}
    return {
        "benchmark": "engine_settings",
        "ratio": {name: round(rate / rates[OURS], 3) for name, rate in rates.items() if name != OURS},
        "pairs_per_second": {name: round(rate, 3) for name, rate in rates.items()},
        "start_seconds": {name: round(max(one["start_seconds"] for one in found), 1) for name, found in runs.items()},
        "prompts": len(prompts),
        "tokens": sum(map(len, prompts)),
        "model": options.model,
        "prompt": options.prompt,
        "dtype": dtype,
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }


def run(
    side: Side, config: JudgeConfig, dtype: str, prompts: list[list[int]], longest: int, label_ids: list[int]
) -> dict[str, float]:
    """Pairs a second of a side, and the seconds that its engines took to start."""
    config = config.model_copy(update=side.config)
    started = time.monotonic()
    engines = [bare_actor(config, dtype, longest, side.engine) for _ in range(side.engines)]
    ray.get([engine.take.remote(prompts[:1], label_ids) for engine in engines])
    ray.get([engine.generate.remote() for engine in engines])
    start_seconds = time.monotonic() - started
    cut = -(-len(prompts) // len(engines))
    parts = [prompts[place * cut : (place + 1) * cut] for place in range(len(engines))]
    ray.get([engine.take.remote(part, label_ids) for engine, part in zip(engines, parts, strict=True)])
    spans = ray.get([engine.generate.remote() for engine in engines])
    seconds = max(ended for _, ended in spans) - min(started for started, _ in spans)
    for engine in engines:
        ray.kill(engine)
    return {"pairs_per_second": len(prompts) / seconds, "start_seconds": start_seconds}


if __name__ == "__main__":
    main()
