"""Rates out of earlier runs: their records, the totals of their markers and their trainings.

A run says something only where it ran on such hardware (cores, GPU, arithmetic) and its section of the recipe agrees
in what decides the cost of a row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from relabel.report.cost import actors_of
from relabel.storage import Folder
from relabel.tables import MANIFEST, read_manifest

#: What must be equal in a section for its rate to carry over.
SAME = {
    "judge": ("engine", "model", "prompt", "max_document_tokens", "max_query_tokens", "dtype", "threads", "num_gpus"),
    "judge_training": ("method", "trained_layers", "batch", "queries_per_document", "other_queries", "dtype", "gpus"),
    "weak_training": ("method", "trained_layers", "batch", "queries_per_document", "other_queries", "dtype", "gpus"),
    "reranker": ("model", "architecture", "batch", "group", "max_length", "dtype", "gpus"),
    "generation": ("model", "max_document_tokens", "max_query_tokens", "examples", "dtype", "num_gpus"),
}
#: Facts of the hardware that must be equal.
HARDWARE = ("cores", "gpu", "bfloat16")


def differs(record: Mapping[str, Any], hardware: Mapping[str, Any]) -> str | None:
    """The fact in which a run's machine differs from this one, or None."""
    ran_on = record.get("hardware") or {}
    return next((f"{name} {ran_on.get(name)}" for name in HARDWARE if ran_on.get(name) != hardware.get(name)), None)


def rates_of(run: Folder, recipe: Mapping[str, Any]) -> dict[str, list[float]]:
    """Key → what a finished or unfinished run measured of it.

    Args:
        recipe: the resolved recipe that is planned; sections that differ in `SAME` say nothing.
    """
    record = run.read_json("run.json")
    before = record.get("recipe") or {}
    alike = {name for name, keys in SAME.items() if _alike(before.get(name), recipe.get(name), keys)}
    stages = {stage["name"]: stage for stage in record.get("stages") or [] if stage.get("finished")}
    found: dict[str, list[float]] = defaultdict(list)
    if "judge" in alike:
        _judging(run, stages, before, found)
        if "judge_training" in alike:
            _training(run / "judge", stages.get("train-judge"), "train-judge", found)
        if "weak_training" in alike:
            _training(run / "judge_weak", stages.get("train-judge weak"), "train-judge weak", found)
        if "generation" in alike and (detail := (stages.get("generate-queries") or {}).get("detail")):
            found["generate-queries"].append(detail["tokens"] / detail["busy_seconds"])
    for name, stage in stages.items():
        kind, _, training = name.partition(" ")
        if kind == "train-reranker" and "reranker" in alike:
            _training(run / "rerankers" / training, stage, "train-reranker", found)
        if kind == "adjust":
            found["start adjust"].append(stage["seconds"])
    return dict(found)


def _alike(before: Any, now: Any, keys: tuple[str, ...]) -> bool:
    return bool(before and now) and all(before.get(key) == now.get(key) for key in keys)


def _judging(run: Folder, stages: dict[str, dict], recipe: Mapping[str, Any], found: dict[str, list[float]]) -> None:
    tables = [f"judgements/{name}" for name in sorted({one.split("/")[0] for one in _names(run / "judgements")})]
    named = {"evidence/judgements": "judge held-out", "evidence/test_judgements": "judge test"}
    for table in (*named, *tables):
        if not (run / table).exists(MANIFEST):
            continue
        about, stage = read_manifest(run / table, "judgements").about, named.get(table, "judge")
        tokens, busy = about.get("tokens"), about.get("busy_seconds")
        if tokens and busy:
            found["judge"].append(tokens / busy)
            if stage in stages:
                actors = min(actors_of(stage, recipe), about.get("shards") or 1)
                found["start judge"].append(max(1.0, stages[stage]["seconds"] - busy / actors))


def _names(folder: Folder) -> list[str]:
    return folder.names(suffix=MANIFEST, recursive=True)


def _training(out: Folder, stage: dict | None, key: str, found: dict[str, list[float]]) -> None:
    if not stage or not out.exists("training.json"):
        return
    training = out.read_json("training.json")
    if training["seconds"] and training["sessions"] == 1:
        found[key].append(training["pairs_trained"] / training["seconds"] / training["workers"])
        found[f"start {key}"].append(max(1.0, stage["seconds"] - training["seconds"]))
