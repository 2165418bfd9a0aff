"""What a run refuses before it spends anything: missing models, empty tables, a test set of no use, another recipe.

A recipe may change where nothing was begun, and in what only changes speed or price.
"""

from __future__ import annotations

import yaml

from jobs.recipe import Recipe
from jobs.run_stages import zero_shot
from relabel.agreement.measure_judge import AGREEMENT
from relabel.calibration.record import CALIBRATION
from relabel.differences import first_difference
from relabel.engine import ENGINE_SPEED
from relabel.errors import ConfigError, InputError
from relabel.evidence.circularity import refuse_shared_queries
from relabel.evidence.evaluate import METRICS, read_test
from relabel.evidence.judged_everywhere import refuse_too_few
from relabel.generation.config import AFTERWARDS
from relabel.judges.config import JUDGE_SPEED, MODEL_FREE
from relabel.judges.panel import computing
from relabel.ledger import PLAN
from relabel.models import local_model
from relabel.storage import Folder
from relabel.tables import MANIFEST, read_manifest
from train.record import MAY_CHANGE, STARTED

RECIPE = "recipe.yaml"


def check_models(recipe: Recipe) -> None:
    """Raises InputError for a model that is not there, before anything else is done; package models are made."""
    names = {recipe.reranker.model, zero_shot(recipe)}
    judges = computing(recipe.judge)
    if recipe.generation:
        names |= {recipe.generation.model or recipe.judge.model, recipe.generation.encoder}
    names |= {judge.model for judge in judges if judge.engine not in MODEL_FREE}
    for name in sorted(names):
        local_model(name)


def not_empty(table: Folder) -> None:
    manifest = read_manifest(table, "pairs")
    if not manifest.rows:
        raise InputError(
            table.uri,
            f"no pairs, {manifest.quarantined} rows in quarantine",
            "pairs to work on",
            "look into its quarantine, correct the dataset or the recipe's section, and remove this folder",
        )


def check_test(recipe: Recipe, folder: Folder) -> None:
    """Refuse, before anything is trained, a test set that the last stage could not use.

    Raises:
        InputError: for test pairs without a scale, without the first-stage ranks that are asked for, or with too few
            graded or ungraded queries for a prediction-powered mean.
        CircularEvidence: for labels made by a judge, and for test queries that would be trained on.
    """
    test, config = folder / "test", recipe.evaluate
    pairs = read_test(test, config.first_stage)
    if config.prediction_powered:
        refuse_too_few(pairs, test.uri)
    if not config.allow_seen_queries:
        trained_on = [folder / "pairs", *([folder / "human"] if recipe.judge_training else [])]
        trained_on += [folder / "weak"] if recipe.weak else []
        trained_on += [folder / "held_out"] if recipe.calibration or recipe.promises else []
        refuse_shared_queries(pairs, test.uri, trained_on)


#: What has been begun once a file of it is there: section of the recipe → files. Others may still be changed.
BEGUN = {
    "prepare": (f"pairs/{MANIFEST}",),
    "weak": (f"weak/{MANIFEST}",),
    "generation": (f"weak/documents/{MANIFEST}",),
    "human": (f"human/{MANIFEST}",),
    "held_out": (f"held_out/{MANIFEST}",),
    "test": (f"test/{MANIFEST}",),
    "judge": (f"judge_weak/{STARTED}", f"judge/{STARTED}", f"evidence/judgements/{PLAN}"),
    "weak_training": (f"judge_weak/{STARTED}", f"judge/{STARTED}", f"evidence/judgements/{PLAN}"),
    "judge_training": (f"judge/{STARTED}", f"evidence/judgements/{PLAN}"),
    "robustness": (f"robustness/pairs/{MANIFEST}",),
    "seed": (f"evidence/{AGREEMENT}",),
    "calibration": (f"calibration/{CALIBRATION}",),
    "adjust": ("labels",),
    "reranker": ("rerankers",),
    "repeats": (f"evidence/{METRICS}",),
    "evaluate": (f"evidence/{METRICS}",),
}
#: Keys that change speed or cost and no result.
SPEED_ONLY = {
    "generation": ENGINE_SPEED,
    "judge": JUDGE_SPEED,
    "weak_training": frozenset(MAY_CHANGE),
    "judge_training": frozenset(MAY_CHANGE),
    "reranker": frozenset(MAY_CHANGE),
}


def same_recipe(recipe: Recipe, folder: Folder) -> None:
    """Raises ConfigError where the folder holds what another recipe began, naming the first key that differs."""
    if not folder.exists(RECIPE):
        return
    before, now = yaml.safe_load(folder.read_bytes(RECIPE)) or {}, yaml.safe_load(as_yaml(recipe))
    chosen = recipe.model_dump(mode="json", exclude_defaults=True)
    for section, files in BEGUN.items():
        if not any(folder.exists(file) for file in files):
            continue
        free = SPEED_ONLY.get(section, frozenset())
        if section == "generation" and not folder.exists(f"weak/{MANIFEST}"):
            free |= AFTERWARDS
        difference = first_difference(before.get(section), now.get(section), free, section, chosen.get(section) or {})
        if difference:
            key, old, new = difference
            raise ConfigError(
                f"{folder.uri}/{RECIPE}: {key}",
                f"{old!r}, and now {new!r}",
                "the recipe that this part of the run began with",
                "choose another --out",
            )


def as_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
