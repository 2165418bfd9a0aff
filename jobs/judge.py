"""Judge: pairs in, judgements out, through a fixed pool of judge actors. Resumes where it stopped.

relabel judge --pairs RUN/pairs --engine vllm --model MODEL --prompt graded-0-3 --out RUN/judgements/JUDGE_ID
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from relabel.engine import settings_with_reasons
from relabel.errors import ConfigError, InputError
from relabel.hardware import compute_dtype, cores
from relabel.judges import JudgeConfig, classifier, load_judge
from relabel.judges.config import JUDGE_SPEED, MODEL_FREE, PROMPTED, judge_dtype, judge_scale
from relabel.judges.identity import judge_id
from relabel.judges.panel import check_members, computing, member_configs
from relabel.ledger import Marker, Shard
from relabel.lineage import trained_folder
from relabel.models import PACKAGE_MODELS, check_context, local_model
from relabel.prompts import asked
from relabel.prompts.few_shot import example_queries
from relabel.quarantined import quarantined_pairs
from relabel.storage import Folder
from relabel.tables import Manifest, counted

if TYPE_CHECKING:
    from jobs.shards import Stage

#: Rows a shard: half a minute of work or so on the hardware named.
SHARD_ROWS = {"none": 16_384, "gpu": 4_096, "cpu": 256, "cpu with bfloat16": 512, "encoder": 1_024}


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
        grades = counted(judged.judgements["grade"])
        facts = {
            "tokens": judged.tokens,
            "truncated": pc.sum(judged.judgements["truncated"]).as_py() or 0,
            "off_label_mass": pc.sum(judged.judgements["off_label_mass"]).as_py() or 0.0,
            "grades": {str(grade): grades[grade] for grade in sorted(grades)},
            "quarantined": counted(judged.quarantined["reason"]),
        }
        return judged.judgements, judged.quarantined, facts


def judge(config: JudgeConfig, out: Folder, log: Callable[[str], None] = print) -> Manifest:
    """Judge the pairs of `config.pairs` into `out`; the judge is checked here before any actor starts.

    With `config.quarantined` the pairs are those that were quarantined there; they are written to `out`/pairs first.

    Raises:
        ConfigError: where no pairs are named.
        InputError: for a model, prompt or pairs table that does not fit.
        LedgerError: where rows were lost or doubled, or `out` holds another judge's work.
    """
    from jobs.cluster import connect
    from jobs.shards import run_stage

    if config.quarantined:
        again = out / "pairs"
        quarantined_pairs(Folder(config.quarantined), again)
        config = config.model_copy(update={"pairs": again.uri, "quarantined": ""})
    if not config.pairs:
        raise ConfigError("pairs", "nothing", "the pairs table to judge", "add --pairs, or --quarantined")
    connect(log)
    config = on_this_cluster(config)
    dtype, name = resolve(config)
    log(f"judge: {name}, prompt {config.prompt}, dtype {dtype} ({judge_dtype(config).reason})")
    rows, reason = shard_rows(config)
    log(f"judge: {rows} rows a shard ({reason}); {config.actors} actor(s), {config.num_gpus:g} GPU each")
    if served_by_vllm(config):
        log(f"judge: vLLM with {settings_with_reasons(config)}")
    elif engines_of(config) - MODEL_FREE and not config.on_gpu:
        log(f"judge: {config.compute_threads} thread(s) an actor ({cores()} cores)")
    return run_stage(stage_of(config, name, dtype), Folder(config.pairs), out, log)


def stage_of(config: JudgeConfig, name: str, dtype: str) -> Stage:
    """The sharded stage of a judge whose GPUs are settled, and whose id and dtype `resolve` told."""
    from jobs.shards import Stage

    return Stage(
        name="judge",
        kind="judgements",
        task_id=name,
        worker=JudgeWorker,
        arguments={"config": config, "expected_id": name},
        shard_rows=shard_rows(config)[0],
        scale=judge_scale(config),
        about=facts_of(config, name, dtype),
        summary=summary,
        actors=config.actors,
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
        environment=actor_environment(config),
    )


def on_this_cluster(config: JudgeConfig) -> JudgeConfig:
    """`config` with the GPUs of an actor settled: what it says, else those of one model where the cluster has any."""
    from jobs.cluster import with_gpus

    return with_gpus(config, 0 if engines_of(config) <= MODEL_FREE else config.tensor_parallel_size)


def identity(config: JudgeConfig) -> str:
    """The judge id on the connected cluster; raises as `resolve` does."""
    return resolve(on_this_cluster(config))[1]


def resolve(config: JudgeConfig) -> tuple[str, str]:
    """The dtype and the judge id of a configuration; fails early where tokenizer and prompt do not fit.

    Raises:
        InputError: as `local_model` and `PromptEncoder` do.
    """
    dtype = judge_dtype(config).value
    if config.engine == "panel":
        check_members(config)
        for member in member_configs(config):
            resolve(member)
    if config.engine == "classifier":
        classifier.output_order(local_model(config.model), judge_scale(config))
    if config.engine not in PROMPTED:
        return dtype, judge_id(config, dtype)
    from relabel.prompts.encoding import encoder_of

    check_context(local_model(config.model), encoder_of(config).max_prompt_tokens)
    return dtype, judge_id(config, dtype)


def shard_rows(config: JudgeConfig) -> tuple[int, str]:
    """Rows a shard and why."""
    if config.shard_rows:
        return config.shard_rows, "asked for"
    engines = engines_of(config)
    if engines <= MODEL_FREE:
        return SHARD_ROWS["none"], "no model"
    if config.on_gpu:
        return SHARD_ROWS["gpu"], "GPU"
    if not engines & PROMPTED:
        return SHARD_ROWS["encoder"], f"an encoder on {cores()} cores"
    fast = {compute_dtype(dtype, gpu=False).value for dtype in (config.dtype, "auto")} == {"bfloat16"}
    kind = "cpu with bfloat16" if fast else "cpu"
    return SHARD_ROWS[kind], f"a language model on {cores()} cores" + " with bfloat16" * fast


def engines_of(config: JudgeConfig) -> set[str]:
    """The engines that will run in an actor: the judge's own, or those of a panel's members."""
    return {one.engine for one in computing(config)}


def served_by_vllm(config: JudgeConfig) -> bool:
    """Whether an actor starts an engine of vLLM."""
    return any(
        one.engine == "vllm" or (one.engine == "classifier" and classifier.runner(one) == "vllm")
        for one in computing(config)
    )


def facts_of(config: JudgeConfig, name: str, dtype: str) -> dict[str, Any]:
    """What the judgements' manifest says about their judge; `config` is enough to make it again."""
    modelled = config.engine not in MODEL_FREE
    trained = trained_folder(config.model) if modelled else None
    if config.engine == "panel":
        trained = Folder(config.model)  # it lists the queries that it was fitted on
    prompt = asked(config.prompt, config.examples)
    return {
        "judge_id": name,
        "engine": config.engine,
        "model": config.model if modelled else None,
        "prompt": config.prompt,
        "prompt_id": prompt.prompt_id,
        "example_queries": sorted(example_queries(prompt)),
        "dtype": dtype,
        "judge_folder": trained.uri if trained else None,
        "calibration": Folder(config.calibration).uri if config.calibration else None,
        "pairs": config.pairs,
        "config": rebuilt_by(config, dtype),
    }


def rebuilt_by(config: JudgeConfig, dtype: str) -> dict[str, Any]:
    """The keys of `config` that decide its answers, with whole addresses and the dtype that it resolved to here."""
    values = config.model_dump(mode="json", exclude=JUDGE_SPEED | {"pairs", "quarantined"})
    if dtype != "none":
        values["dtype"] = dtype
    if config.engine == "classifier":
        values["runner"] = classifier.runner(config)
    for name in ("model", "collection", "examples", "calibration"):
        if values[name] and values[name] not in PACKAGE_MODELS:
            values[name] = Folder(values[name]).uri
    return values


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


def actor_environment(config: JudgeConfig) -> dict[str, str]:
    """Environment variables of the judge's actors: those of vLLM where it computes."""
    if not served_by_vllm(config):
        return {}
    from relabel.engine import environment

    return environment(config) | {"VLLM_LOGGING_LEVEL": "WARNING"}


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["judge", *sys.argv[1:]]))
