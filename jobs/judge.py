"""Judge: pairs in, judgements out, through a fixed pool of judge actors. Resumes where it stopped.

relabel judge --pairs RUN/pairs --engine vllm --model MODEL --prompt graded-0-3 --out RUN/judgements/JUDGE_ID
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from relabel.errors import ConfigError, InputError
from relabel.hardware import compute_dtype, cores
from relabel.judges import JudgeConfig, load_judge
from relabel.judges.config import judge_id
from relabel.ledger import Marker, Shard
from relabel.lineage import trained_folder
from relabel.models import check_context, local_model
from relabel.prompts import prompt_named
from relabel.storage import Folder
from relabel.tables import Manifest

#: Rows a shard: half a minute of work or so on the hardware named.
SHARD_ROWS = {"lexical": 16_384, "gpu": 4_096, "cpu": 256}


class JudgeWorker:
    """A judge in an actor: one shard in, judgements and quarantine out."""

    def __init__(self, config: JudgeConfig, expected_id: str):
        self._judge = load_judge(config)
        if self._judge.judge_id != expected_id:
            raise InputError(
                f"judge {self._judge.judge_id}",
                "another model or dtype on this node than on the driver",
                expected_id,
                "give every node the same model files, and set --dtype",
            )

    def __call__(self, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        judged = self._judge.judge(pairs, shard.source)
        grades = Counter(judged.judgements["grade"].to_pylist())
        facts = {
            "tokens": judged.tokens,
            "truncated": sum(judged.judgements["truncated"].to_pylist()),
            "off_label_mass": float(sum(judged.judgements["off_label_mass"].to_pylist())),
            "grades": {str(grade): grades[grade] for grade in sorted(grades)},
            "quarantined": dict(Counter(judged.quarantined["reason"].to_pylist())),
        }
        return judged.judgements, judged.quarantined, facts


def judge(config: JudgeConfig, out: Folder, log: Callable[[str], None] = print) -> Manifest:
    """Judge the pairs of `config.pairs` into `out`; the judge is checked here before any actor starts.

    Raises:
        ConfigError: where no pairs are named.
        InputError: for a model, prompt or pairs table that does not fit.
        LedgerError: where rows were lost or doubled, or `out` holds another judge's work.
    """
    from jobs.cluster import connect
    from jobs.shards import Stage, run_stage

    if not config.pairs:
        raise ConfigError("pairs", "nothing", "the pairs table to judge", "add --pairs")
    connect(log)
    config = on_this_cluster(config)
    dtype, name = resolve(config)
    log(f"judge: {name}, prompt {config.prompt}" + ("" if config.engine == "lexical" else f", dtype {dtype}"))
    rows, reason = shard_rows(config)
    log(f"judge: {rows} rows a shard ({reason}); {config.actors} actor(s), {config.num_gpus:g} GPU each")
    stage = Stage(
        name="judge",
        kind="judgements",
        task_id=name,
        worker=JudgeWorker,
        arguments={"config": config, "expected_id": name},
        shard_rows=rows,
        scale=prompt_named(config.prompt).scale,
        about=facts_of(config, name, dtype),
        summary=summary,
        actors=config.actors,
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
        environment=_environment(config),
    )
    return run_stage(stage, Folder(config.pairs), out, log)


def on_this_cluster(config: JudgeConfig) -> JudgeConfig:
    """`config` with the GPUs of an actor settled: what it says, else those of one model where the cluster has any."""
    from jobs.cluster import gpus

    if config.num_gpus is not None:
        return config
    lexical = config.engine == "lexical"
    return config.model_copy(update={"num_gpus": config.tensor_parallel_size if gpus() and not lexical else 0})


def identity(config: JudgeConfig) -> str:
    """The judge id on the connected cluster; raises as `resolve` does."""
    return resolve(on_this_cluster(config))[1]


def resolve(config: JudgeConfig) -> tuple[str, str]:
    """The dtype and the judge id of a configuration; fails early where tokenizer and prompt do not fit.

    Raises:
        InputError: as `local_model` and `PromptEncoder` do.
    """
    if config.engine == "lexical":
        return "none", judge_id(config, "none")
    from transformers import AutoTokenizer

    from relabel.prompts.encoding import PromptEncoder

    folder = local_model(config.model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"model {folder}", f"no usable tokenizer ({error})", "tokenizer.json beside the model"
        ) from None
    encoder = PromptEncoder(prompt_named(config.prompt), tokenizer, config.max_document_tokens, config.max_query_tokens)
    check_context(folder, encoder.max_prompt_tokens)
    dtype = compute_dtype(config.dtype, config.on_gpu)
    return dtype.value, judge_id(config, dtype.value)


def shard_rows(config: JudgeConfig) -> tuple[int, str]:
    """Rows a shard and why."""
    if config.shard_rows:
        return config.shard_rows, "asked for"
    if config.engine == "lexical":
        return SHARD_ROWS["lexical"], "no model"
    return (SHARD_ROWS["gpu"], "GPU") if config.on_gpu else (SHARD_ROWS["cpu"], f"a language model on {cores()} cores")


def facts_of(config: JudgeConfig, name: str, dtype: str) -> dict[str, Any]:
    """What the judgements' manifest says about their judge."""
    lexical = config.engine == "lexical"
    trained = None if lexical else trained_folder(config.model)
    return {
        "judge_id": name,
        "engine": config.engine,
        "model": None if lexical else config.model,
        "prompt": config.prompt,
        "prompt_id": prompt_named(config.prompt).prompt_id,
        "dtype": dtype,
        "judge_folder": trained.uri if trained else None,
        "calibration": Folder(config.calibration).uri if config.calibration else None,
        "pairs": config.pairs,
    }


def summary(markers: list[Marker]) -> dict[str, Any]:
    """Totals over the shards' markers."""
    grades, quarantined = Counter(), Counter()
    for marker in markers:
        grades.update(marker.facts["grades"])
        quarantined.update(marker.facts["quarantined"])
    rows = sum(marker.rows for marker in markers)
    return {
        "shards": len(markers),
        "tokens": sum(marker.facts["tokens"] for marker in markers),
        "busy_seconds": sum(marker.busy_seconds for marker in markers),
        "truncated": sum(marker.facts["truncated"] for marker in markers),
        "mean_off_label_mass": sum(marker.facts["off_label_mass"] for marker in markers) / max(rows, 1),
        "grades": {grade: grades[grade] for grade in sorted(grades)},
        "quarantined_by_reason": dict(quarantined),
    }


def _environment(config: JudgeConfig) -> dict[str, str]:
    if config.engine != "vllm":
        return {}
    from relabel.judges.vllm_engine import environment

    return environment(config) | {"VLLM_LOGGING_LEVEL": "WARNING"}


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["judge", *sys.argv[1:]]))
