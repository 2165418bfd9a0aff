"""How much of vLLM's speed does the pipeline keep, and what do order and deduplication add to it?

The judge stage against one bare `vllm.LLM.generate` call over the same pairs' prompts, with the same engine options,
environment and dtype: in an actor of a Ray that does nothing else, and in a process without Ray. On two cores Ray's
own daemons take some of the engine's time; the first ratio leaves them out, the second has them in, and with
`--threads 1` they have the other core, as on any machine with more. A third bare side (`--bare as-it-comes`) is vLLM in
a process without Ray with the options and the environment that it chooses itself.

On CPU all sides live at once and take turns of eight seconds (`benchmarks.turns`), because shared machines are slower
in one minute than in the next; on GPU, whose memory one engine takes, they run one after the other. The order flips
every time. The bare engine has all cores; the pipeline has as many engines as `--actors` says, which divide them. Two
workloads:

- `alike`: the demo's questions with random documents of its collection, each once, so that there is nothing to share.
  The bare engine is given the prompts without duplicates and in the pipeline's order, so that only the pipeline's own
  cost differs (wanted: ratio ≥ 0.97).
- `shared`: every query with the same hundred long documents, a rubric before them, and a tenth of the documents under
  two ids. The bare engine is given the prompts as the table has them, query by query, with its prefix cache on, as
  anybody would call it; the cache, as with any large collection, cannot hold all documents (wanted: ratio ≥ 1.3 by
  order and deduplication alone).

What is timed: for the pipeline, from the moment all judge actors have their first shard to the moment the last marker
is on disk; tokenizing, grades, checks and commits are in it, reading the first shard and everything before it is
start-up. For the bare engine, one `generate` call over all prompts, already tokenized. Of each only the side's own
turns count. A ratio is bare seconds / pipeline seconds, the median over repetitions.

Run: `python -m benchmarks.judge_rate --pairs 512 --repetitions 3` and `… --workload shared --pairs 300`; the last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.turns import seconds_of, take_turns
from jobs.cluster import connect
from jobs.judge import judge, on_this_cluster, resolve, shard_rows, stage_of
from jobs.shards import ShardWorker, run_stage
from relabel.demo import build_collection, load_questions
from relabel.engine import engine_options, environment
from relabel.errors import RelabelError
from relabel.hardware import compute_dtype, facts, has_gpu
from relabel.heap import release_free_memory
from relabel.judges import JudgeConfig
from relabel.ledger import Shard, finished_shards, marker_name, read_plan
from relabel.models import local_model
from relabel.prompts.encoding import encoder_of
from relabel.records import PAIRS
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole

#: The workloads and the ratios that are promised for them.
WANTED = {"alike": 0.97, "shared": 1.3}
#: Seconds of a turn on CPU. What Ray does every few seconds comes once a turn at least, too often in short ones.
TURN_SECONDS = 8.0
#: Documents of every query in `shared`, how many of them are there twice.
SHARED_DOCUMENTS, TWICE = 100, 10
#: Words and tokens of each of them by the dtype: twice what 1 GiB of cache holds, which are more tokens in bfloat16.
SHARED_WORDS = {"float32": 260, "bfloat16": 520}
SHARED_TOKENS = {"float32": 400, "bfloat16": 800}


def main(arguments: list[str] | None = None) -> dict | None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WANTED, default="alike")
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--turn-seconds", type=float, help="0: one after the other; default: 8, on GPU 0")
    parser.add_argument("--shard-rows", type=int, help="rows a shard; default: what the judge chooses")
    parser.add_argument("--actors", type=int, default=1, help="engines of the pipeline, which share the cores")
    parser.add_argument("--threads", type=int, help="of each engine, on CPU; default: all cores / engines")
    parser.add_argument("--bare", nargs="+", choices=BARE, default=["bare-in-ray", "bare"], help="the other sides")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prompt", help="default: graded-0-3; of `shared` graded-0-3-passage-first")
    parser.add_argument("--max-document-tokens", type=int, help="default: 256; of `shared` 400, in bfloat16 800")
    parser.add_argument("--kv-cache-gib", type=int, help="default: 2; of `shared` 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", nargs=2, metavar=("NAME", "FOLDER"), help="(internal) one side, in this process")
    options = parser.parse_args(arguments)
    if options.side:
        name, folder = options.side
        return SIDES[name](Path(folder))
    with tempfile.TemporaryDirectory(prefix="relabel-judge-rate-") as scratch:
        result = measure(options, Path(scratch))
    print(json.dumps(result))
    return result


def measure(options: argparse.Namespace, scratch: Path) -> dict:
    pairs, shared = Folder(scratch / "pairs"), options.workload == "shared"
    dtype = compute_dtype("auto", has_gpu()).value
    if shared:
        write_shared_pairs(pairs, options.pairs, options.seed, SHARED_WORDS[dtype])
    else:
        write_demo_pairs(pairs, options.pairs, options.seed)
    config = JudgeConfig(
        pairs=pairs.uri,
        engine="vllm",
        model=options.model,
        prompt=options.prompt or ("graded-0-3-passage-first" if shared else "graded-0-3"),
        max_document_tokens=options.max_document_tokens or (SHARED_TOKENS[dtype] if shared else 256),
        kv_cache_gib=options.kv_cache_gib or (1 if shared else 2),
        shard_rows=options.shard_rows or (options.pairs if shared else None),
        actors=options.actors,
        threads=options.threads,
    )
    prompts, longest, label_ids = prompts_of(config, in_order_of_the_pipeline=not shared)
    tokens = sum(map(len, prompts))
    print(f"{options.pairs} pairs, {len(prompts)} prompts, {tokens:,} tokens", flush=True)
    shards = -(-options.pairs // shard_rows(config)[0])
    if shards < 2 * options.actors - 1:  # an actor that is ready before the others may be given two
        raise SystemExit(
            f"{shards} shards are too few for {options.actors} actors: give more --pairs or less --shard-rows"
        )
    turn_seconds = options.turn_seconds
    if turn_seconds is None:
        turn_seconds = 0.0 if config.on_gpu else TURN_SECONDS
    work = {"dtype": dtype, "longest": longest, "label_ids": label_ids, "prompts": prompts}
    sides = ["pipeline", *options.bare]
    runs = []
    for repetition in range(options.repetitions):
        folder = scratch / f"repetition-{repetition}"
        folder.mkdir()
        (folder / WORK).write_text(json.dumps({"config": config.model_dump(mode="json")} | work))
        order = sides if repetition % 2 == 0 else sides[::-1]
        seconds = compare(folder, order, turn_seconds)
        runs.append(seconds)
        shown: dict[str, Any] = {side: round(found, 2) for side, found in seconds.items()}
        shown["ratio"] = {bare: round(seconds[bare] / seconds["pipeline"], 3) for bare in options.bare}
        print(json.dumps(shown), flush=True)
    ratios = {bare: [round(run[bare] / run["pipeline"], 3) for run in runs] for bare in options.bare}
    ratio = {bare: statistics.median(found) for bare, found in ratios.items()}
    return {
        "benchmark": "judge_rate",
        "workload": options.workload,
        "ratio": {BARE[bare]: found for bare, found in ratio.items()},
        "holds": {BARE[bare]: found >= WANTED[options.workload] for bare, found in ratio.items()},
        "ratios": {BARE[bare]: found for bare, found in ratios.items()},
        "turn_seconds": turn_seconds,
        "actors": options.actors,
        "threads": None if config.on_gpu else config.compute_threads,
        "seconds": {side: [round(run[side], 2) for run in runs] for side in sides},
        "tokens_per_second": {side: round(tokens / statistics.median(run[side] for run in runs)) for side in sides},
        "pairs": options.pairs,
        "prompts": len(prompts),
        "tokens": tokens,
        "model": options.model,
        "prompt": config.prompt,
        "dtype": dtype,
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }


def compare(folder: Path, order: list[str], turn_seconds: float) -> dict[str, float]:
    """Seconds of each side for the work in `folder`, their own turns alone."""
    work = _work(folder)
    variables = {"bare": environment(work.bare) | {"VLLM_LOGGING_LEVEL": "WARNING"}}  # an actor's are its own
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}  # a cluster cannot be stopped

    def start(side: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "benchmarks.judge_rate", "--side", side, str(folder)]
        return subprocess.Popen(command, env=own | variables.get(side, {}))

    turns = take_turns(
        {side: partial(start, side) for side in order},
        {side: (folder / f"{side}{READY}").exists for side in order},
        turn_seconds,
        order,
    )
    spans = {side: json.loads((folder / f"{side}{SPAN}").read_text()) for side in order if side in BARE}
    begun, ended = span(folder / JUDGEMENTS)
    spans["pipeline"] = max(begun, (folder / f"pipeline{READY}").stat().st_mtime), ended
    return {side: seconds_of(side, turns, *spans[side]) for side in order}


@dataclass(frozen=True)
class Work:
    """What all sides are given.

    Attributes:
        config: of the judge.
        prompts: token ids, in the order in which the bare engine gets them.
        longest: tokens of the longest prompt that may come; `label_ids`: the grades' tokens.
    """

    config: JudgeConfig
    dtype: str
    longest: int
    label_ids: list[int]
    prompts: list[list[int]]

    @property
    def bare(self) -> JudgeConfig:
        """Of the bare sides, which have one engine."""
        return self.config.model_copy(update={"actors": 1})


def _work(folder: Path) -> Work:
    values = json.loads((folder / WORK).read_text())
    return Work(**values | {"config": JudgeConfig(**values["config"])})


def pipeline_side(folder: Path) -> None:
    """The judge stage, which says when its engines have started up."""
    connect()
    work = _work(folder)
    config = on_this_cluster(work.config)
    dtype, name = resolve(config)
    stage = stage_of(config, name, dtype)
    announced = {"folder": str(folder), "actors": stage.actors, "worker": stage.worker} | stage.arguments
    run_stage(
        replace(stage, worker=_Announced, arguments=announced),
        Folder(config.pairs),
        Folder(folder / JUDGEMENTS),
        log=lambda line: None,
    )


class _Announced:
    """The stage's own worker, as it is; all actors have their first shard before any goes on, and a file says so.

    Not sooner: what a raylet has to tell an actor of its first shard is lost where it is stopped in the midst of that.
    """

    def __init__(self, folder: str, actors: int, worker: Callable[..., ShardWorker], **arguments: Any):
        self._work, self._here, self._actors = worker(**arguments), Path(folder), actors

    def __call__(self, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        (self._here / f"{CALLED}{os.getpid()}").touch()
        end = time.monotonic() + START_SECONDS
        while (called := len(list(self._here.glob(f"{CALLED}*")))) < self._actors:
            if time.monotonic() > end:
                raise RelabelError(
                    "--actors", f"{called} with a shard after {START_SECONDS} s", f"all {self._actors}",
                    "give no more actors than there are GPUs or cores",
                )  # fmt: skip
            time.sleep(0.01)
        with suppress(FileExistsError):  # its time is when the last engine had started up
            (self._here / f"pipeline{READY}").touch(exist_ok=False)
        return self._work(pairs, shard)


def bare_side(folder: Path) -> None:
    """vLLM in a process without Ray."""
    work = _work(folder)
    _generate(folder, "bare", work, engine_options(local_model(work.config.model), work.bare, work.dtype, work.longest))


def as_it_comes_side(folder: Path) -> None:
    """vLLM in a process without Ray, with its own choices but for two.

    Its cache would take most of the memory; and its engine, a process of its own, may take as long for a batch as it
    likes: it is stopped in the midst of it for as long as the others' turns are.
    """
    os.environ["VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS"] = str(24 * 3600)
    work = _work(folder)
    options = {"model": str(local_model(work.config.model)), "max_model_len": work.longest}
    if not work.config.on_gpu:
        options["kv_cache_memory_bytes"] = work.config.cache_gib << 30
    _generate(folder, "as-it-comes", work, options)


def _generate(folder: Path, side: str, work: Work, options: dict[str, Any]) -> None:
    engine = BareEngine(options)
    engine.take(work.prompts, work.label_ids)
    (folder / f"{side}{READY}").touch()
    (folder / f"{side}{SPAN}").write_text(json.dumps(engine.generate()))


def bare_in_ray_side(folder: Path) -> None:
    """vLLM in an actor, of a Ray that does nothing else."""
    import ray

    work = _work(folder)
    connect()
    actor = bare_actor(on_this_cluster(work.bare), work.dtype, work.longest)
    ray.get(actor.take.remote(work.prompts, work.label_ids))
    (folder / f"bare-in-ray{READY}").touch()
    found = ray.get(actor.generate.remote())
    (folder / f"bare-in-ray{SPAN}").write_text(json.dumps(found))


#: The sides; which of them are compared with the pipeline; how each says that it has started up, and what they share.
SIDES = {
    "pipeline": pipeline_side,
    "bare-in-ray": bare_in_ray_side,
    "bare": bare_side,
    "as-it-comes": as_it_comes_side,
}
BARE = {"bare-in-ray": "in an actor of an idle Ray", "bare": "without Ray", "as-it-comes": "as vLLM comes"}
#: Seconds that all engines of the pipeline have to start in.
START_SECONDS = 1_800
READY, SPAN, WORK, JUDGEMENTS, CALLED = "-ready", "-span.json", "work.json", "judgements", "called-"


def write_demo_pairs(folder: Folder, count: int, seed: int) -> None:
    """Pairs of the demo's questions, in turn, with random documents of its collection, none twice while there are more:
    no two prompts then share anything but the words of the prompt itself."""
    rng = np.random.default_rng(seed)
    questions, documents = load_questions(), build_collection()
    a_query = -(-count // len(questions))
    order = np.concatenate([rng.permutation(len(documents)) for _ in range(-(-count // len(documents)))])[:count]
    chosen = {}
    for place, index in enumerate(order):
        question, document = questions[place // a_query], documents[index]
        chosen[question.query_id, document.doc_id] = (question, document.doc_id, document.title, document.text)
    _write(folder, list(chosen.values()))


def write_shared_pairs(folder: Folder, count: int, seed: int, words_each: int) -> None:
    """The demo's first questions, each with the same hundred long documents, some of them under two ids."""
    rng = np.random.default_rng(seed)
    documents = build_collection()
    words = " ".join(documents[index].text for index in rng.permutation(len(documents))).split()
    different = SHARED_DOCUMENTS - TWICE
    texts = [" ".join(words[place * words_each : (place + 1) * words_each]) for place in range(different)]
    shown = [texts[place % different] for place in rng.permutation(SHARED_DOCUMENTS)]
    questions = load_questions()[: count // SHARED_DOCUMENTS]
    _write(
        folder, [(question, f"d{place:03d}", "", text) for question in questions for place, text in enumerate(shown)]
    )


def _write(folder: Folder, pairs: list[tuple[Any, str, str, str]]) -> None:
    """A pairs table of (question, document id, title, text)."""
    rows = [
        {
            "query_id": question.query_id,
            "doc_id": doc_id,
            "query": question.text,
            "title": title,
            "text": text,
            "label_source": "unlabelled",
        }
        for question, doc_id, title, text in pairs
    ]
    writer = TableWriter(folder, "pairs")
    writer.write(pa.Table.from_pylist([dict.fromkeys(PAIRS.names) | row for row in rows], PAIRS))
    writer.finish({"source": "demo"})


def prompts_of(config: JudgeConfig, in_order_of_the_pipeline: bool) -> tuple[list[list[int]], int, list[int]]:
    """The prompts, the longest length, grade tokens.

    Args:
        in_order_of_the_pipeline: different prompts only, in the order of their tokens; else one a pair, in their order.
    """
    encoder = encoder_of(config)
    pairs = read_whole(Folder(config.pairs), "pairs")
    encoded = encoder.encode(*(pairs[name].to_pylist() for name in ("query", "title", "text")))
    prompts = [prompt.token_ids for prompt in encoded]
    if in_order_of_the_pipeline:
        prompts = [list(prompt) for prompt in sorted(set(map(tuple, prompts)))]
    return prompts, encoder.max_prompt_tokens, encoder.label_token_ids


def pipeline_seconds(config: JudgeConfig, out: Path) -> float:
    """Seconds of a whole judge stage that nothing interrupts, its start-up left out."""
    judge(config, Folder(out), log=lambda line: None)
    started, ended = span(out)
    return ended - started


def span(out: Path) -> tuple[float, float]:
    """From the first shard's start in the judge to the last marker on disk, Unix seconds."""
    markers = finished_shards(Folder(out), plan := read_plan(Folder(out)))
    last = max((out / marker_name(shard.index)).stat().st_mtime for shard in plan.shards)
    return min(marker.started for marker in markers.values()), last


class BareEngine:
    """vLLM with some options and nothing else, in the environment of its process."""

    def __init__(self, options: dict[str, Any]):
        from vllm import LLM

        self._engine = LLM(**options)
        release_free_memory()  # as the judge's engine does
        self._given: tuple[list[list[int]], list[int]] = [], []

    def take(self, prompts: list[list[int]], label_ids: list[int]) -> None:
        """What `generate` shall do: a call that must fetch its arguments is lost where Ray is stopped meanwhile."""
        self._given = prompts, label_ids

    def generate(self) -> tuple[float, float]:
        """When one call over what was taken began and when it ended, Unix seconds."""
        from vllm import SamplingParams

        prompts, label_ids = self._given
        sampling = SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=label_ids, detokenize=False)
        started = time.time()
        self._engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)
        return started, time.time()


def bare_actor(
    config: JudgeConfig,
    dtype: str,
    longest: int,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """A `BareEngine` in an actor with the judge's options and environment but for `changes` of the options."""
    import ray

    env_vars = environment(config) | {"VLLM_LOGGING_LEVEL": "WARNING"}
    resources = {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus, "runtime_env": {"env_vars": env_vars}}
    options = engine_options(local_model(config.model), config, dtype, longest) | dict(changes)
    return ray.remote(BareEngine).options(**resources).remote(options)


if __name__ == "__main__":
    main()
