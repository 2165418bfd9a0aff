"""Short measurements on the connected cluster for `relabel plan`: the real judge on a few pairs, real training steps.

Each runs in an actor with the resources and the environment of the stage that it stands for, so that on a cluster it is
measured where the stage would run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.cluster import gpus as gpus_of_cluster
from jobs.judge import JudgeWorker, actor_environment
from relabel.hardware import cores
from relabel.judges import JudgeConfig
from relabel.ledger import Segment, Shard
from relabel.scoring import encoder_scores
from relabel.tables import rows_by_key
from train.config import TrainingConfig
from train.engine import worker_environment
from train.rehearsal import Supervision, timed_steps

#: Pairs of the first timed call; the next has twice as many until a call takes `CALL_SECONDS`.
FIRST_CALL = 16
CALL_SECONDS = 5.0
#: Timed calls of that size.
CALLS = 3
#: Seconds after which no further call or step is begun.
BUDGET_SECONDS = 30.0
#: Pairs that an encoder scores for its rate.
SCORED = 96


@dataclass(frozen=True)
class JudgeRehearsal:
    """What a judge did.

    Attributes:
        start: seconds from asking for its actor until it had judged two pairs.
        rates: tokens a second of each timed call.
        lengths: of each sample, the tokens of each pair and whether it was cut; 0 and False where it cannot be judged.
    """

    start: float
    rates: list[float]
    lengths: dict[str, tuple[np.ndarray, np.ndarray]]


def rehearse_judge(config: JudgeConfig, name: str, shard: pa.Table, samples: Mapping[str, pa.Table]) -> JudgeRehearsal:
    """Start one judge and time it.

    Args:
        config: with its GPUs settled.
        name: the judge id.
        shard: neighbouring pairs to be timed on, so that they share what those of a shard share.
        samples: pairs whose tokens are wanted from the judge itself, by name.
    """
    import ray

    started = time.monotonic()
    options: dict[str, Any] = {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus or 0}
    if environment := actor_environment(config):
        options["runtime_env"] = {"env_vars": environment}
    actor = ray.remote(_Judge).options(**options).remote(config, name)
    try:
        ray.get(actor.judge.remote(shard.slice(0, 2)))
        start = time.monotonic() - started
        rates = ray.get(actor.rates.remote(shard))
        lengths = {table: ray.get(actor.lengths.remote(sample)) for table, sample in samples.items()}
        return JudgeRehearsal(start, rates, lengths)
    finally:
        ray.kill(actor)


class _Judge:
    def __init__(self, config: JudgeConfig, name: str):
        self._worker = JudgeWorker(config, name)

    def judge(self, pairs: pa.Table) -> tuple[int, float]:
        """Tokens and seconds of a call."""
        started = time.perf_counter()
        _, _, facts = self._worker(pairs, _shard_of(pairs))
        return facts["tokens"], time.perf_counter() - started

    def rates(self, pairs: pa.Table) -> list[float]:
        begun, size, found = time.perf_counter(), min(FIRST_CALL, pairs.num_rows), []
        place = 0
        while len(found) < CALLS and (not found or time.perf_counter() - begun < BUDGET_SECONDS):
            rows = np.arange(place, place + size) % pairs.num_rows
            tokens, seconds = self.judge(pairs.take(pa.array(rows)))
            place += size
            if seconds < CALL_SECONDS / 2 and size < pairs.num_rows:
                size = min(2 * size, pairs.num_rows)
                continue
            found.append(tokens / seconds)
        return found

    def lengths(self, pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        judged, _, _ = self._worker(pairs, _shard_of(pairs))
        rows = rows_by_key(judged, pairs)
        tokens, truncated = np.zeros(pairs.num_rows, np.int64), np.zeros(pairs.num_rows, bool)
        tokens[rows], truncated[rows] = judged["prompt_tokens"].to_numpy(), judged["truncated"].to_pylist()
        return tokens, truncated


def _shard_of(pairs: pa.Table) -> Shard:
    return Shard(0, (Segment("sample", 0, pairs.num_rows),))


class Trainer:
    """Times training steps and encoders in one process of a training worker; a context manager.

    Args:
        config: of a training whose workers have these threads and GPUs.
    """

    def __init__(self, config: TrainingConfig):
        import ray

        threads = config.threads or max(1, cores() // config.workers)
        gpus = config.gpus if config.gpus is not None else float(gpus_of_cluster() > 0)
        options = {"num_cpus": 1, "num_gpus": gpus, "runtime_env": {"env_vars": worker_environment(threads, gpus)}}
        self._actor = ray.remote(_Trainer).options(**options).remote()
        self._threads, self._gpus = threads, gpus

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_) -> None:
        import ray

        ray.kill(self._actor)

    def steps(self, supervision: Supervision, config: TrainingConfig) -> list[float]:
        """Pairs a second of a worker, one value a step."""
        import ray

        return ray.get(self._actor.steps.remote(supervision, config, self._threads, self._gpus))

    def encoder(self, model: str, pairs: pa.Table, max_length: int | None) -> tuple[float, float]:
        """Seconds to load an encoder and score next to nothing, and pairs a second beyond that."""
        import ray

        return ray.get(self._actor.encoder.remote(model, pairs, max_length))


class _Trainer:
    def steps(self, supervision: Supervision, config: TrainingConfig, threads: int, gpus: float) -> list[float]:
        return timed_steps(supervision, config, threads, gpus, BUDGET_SECONDS / 2)

    def encoder(self, model: str, pairs: pa.Table, max_length: int | None) -> tuple[float, float]:
        seconds = []
        for size in (2, 2, min(SCORED, pairs.num_rows)):  # the first pays for imports
            started = time.perf_counter()
            encoder_scores(model, pairs.slice(0, size), max_length)
            seconds.append(time.perf_counter() - started)
        return seconds[1], max(1, size - 2) / max(1e-3, seconds[2] - seconds[1])
