"""What each stage of a run does: the recipe's section with the addresses of the run folder filled in, and a summary.

Each function runs one stage and returns the facts that `run.json` keeps of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.recipe import FROM_JUDGE, Recipe
from jobs.robustness import robustness
from relabel.agreement.gate import GATE, gate, pass_gate
from relabel.agreement.measure_judge import AGREEMENT, free_scorers, measure_judge
from relabel.calibration.fit import calibrate
from relabel.evidence.evaluate import evaluate
from relabel.generation import GenerateConfig
from relabel.judges import JudgeConfig
from relabel.labels import AdjustConfig
from relabel.prepare import PrepareConfig, prepare
from relabel.promises.kept import measure_promises
from relabel.robustness.config import RobustnessConfig
from relabel.storage import Folder
from relabel.tables import MANIFEST, Manifest, read_manifest
from train.judge_config import JudgeTrainingConfig

Log = Callable[[str], None]


def prepared(config: PrepareConfig, out: Folder, log: Log) -> dict[str, Any]:
    return _counts(prepare(config, out, log))


def generated(recipe: Recipe, folder: Folder, out: Folder, log: Log) -> dict[str, Any]:
    """Queries for the documents of the recipe's choice, after the examples of the human grades."""
    from jobs.generate_queries import generate_queries

    section = recipe.generation
    addresses = {"pairs": (folder / section.documents_from).uri, "human": (folder / "human").uri}
    addresses["leave_out"] = [(folder / name).uri for name in ("test", "held_out") if getattr(recipe, name)]
    addresses["model"] = section.model or recipe.judge.model
    values = section.model_dump(exclude={"documents_from"}) | addresses
    manifest = generate_queries(GenerateConfig(**values), out, log)
    return _counts(manifest) | {key: manifest.about[key] for key in ("tokens", "busy_seconds", "funnel")}


def trained_judge(
    training: JudgeTrainingConfig, judge: JudgeConfig, pairs: Folder, out: Folder, log: Log
) -> dict[str, Any]:
    """Train from the model of `judge`, with what training and judging must agree on."""
    from train.judge import train_judge

    return _summary(train_judge(of_judge(training, judge, pairs), out, log))


def of_judge(training: JudgeTrainingConfig, judge: JudgeConfig, pairs: Folder) -> JudgeTrainingConfig:
    """A section of the judge's training with what it takes from the judge, on a table."""
    shared = {name: getattr(judge, name) for name in FROM_JUDGE}
    return training.model_copy(update=shared | {"pairs": pairs.uri})


def judged(judge: JudgeConfig, pairs: Folder, out: Folder, log: Log) -> dict[str, Any]:
    from jobs.judge import judge as judge_stage

    manifest = judge_stage(judge.model_copy(update={"pairs": pairs.uri}), out, log)
    return _counts(manifest) | {key: manifest.about[key] for key in ("tokens", "busy_seconds", "judge_id")}


def measured_agreement(
    recipe: Recipe, judgements: Folder, human: Folder, out: Folder, judge_folder: Folder | None, log: Log
) -> dict[str, Any]:
    others = free_scorers(zero_shot(recipe))
    found = measure_judge(judgements, human, out, others, judge_folder, seed=recipe.seed, log=log)
    return {"verdict": found["verdict"]}


def measured_robustness(recipe: Recipe, judge: JudgeConfig, pairs: Folder, out: Folder, log: Log) -> dict[str, Any]:
    config = RobustnessConfig(
        **recipe.robustness.model_dump(), pairs=pairs.uri, judge=judge.model_copy(update={"pairs": ""})
    )
    return {"verdict": robustness(config, out, log)["verdict"]}


def gate_is_passed(recipe: Recipe, evidence: Folder) -> bool:
    """Whether `gate.json` holds what the recipe asks now, and it lets the run go on."""
    found = gate(recipe.gate, evidence.read_json(AGREEMENT))
    allowed = found["passed"] or recipe.gate.on_failure == "warn"
    return allowed and evidence.exists(GATE) and evidence.read_json(GATE) == found


def gated(recipe: Recipe, evidence: Folder, log: Log) -> dict[str, Any]:
    found = pass_gate(recipe.gate, evidence.read_json(AGREEMENT), evidence)
    for sentence in found["sentences"]:
        log(f"gate: {sentence}")
    if not found["passed"]:
        log("gate: the judge fails and the recipe says warn: the run goes on at your own risk")
    return {"passed": found["passed"], "on_failure": found["on_failure"]}


def calibrated(recipe: Recipe, judgements: Folder, human: Folder, out: Folder, log: Log) -> dict[str, Any]:
    config = recipe.calibration.model_copy(update={"judgements": judgements.uri, "human": human.uri})
    found = calibrate(config, out, log)
    return {key: found[key] for key in ("method", "pairs", "queries", "queries_reserved")}


def zero_shot(recipe: Recipe) -> str:
    """The untrained encoder to compare with: what the recipe names, else what the re-rankers start from."""
    return recipe.evaluate.zero_shot or recipe.reranker.model


def zero_shot_max_length(recipe: Recipe) -> int | None:
    """As many tokens as the re-rankers read where they start from that encoder, so that it is what they started as."""
    asked = recipe.evaluate.zero_shot_max_length
    return asked or (recipe.reranker.max_length if zero_shot(recipe) == recipe.reranker.model else None)


def adjusted(
    rule: Any, pairs: Folder, judgements: Folder, human: Folder, judged_people: Folder, out: Folder, log: Log
) -> dict[str, Any]:
    from jobs.adjust import adjust

    parameters = {key: value for key, value in rule.to_json().items() if key != "rule"}
    config = AdjustConfig(
        pairs=pairs.uri,
        judgements=judgements.uri,
        human=human.uri,
        human_judgements=judged_people.uri,
        rule=rule.name,
        parameters=parameters,
    )
    manifest = adjust(config, out, log)
    return _counts(manifest) | {"actions": manifest.about["actions"]}


def measured_promises(recipe: Recipe, folder: Folder, judged_test: Folder, log: Log) -> dict[str, Any]:
    labels = {name: folder / "labels" / name for name in recipe.promises}
    measure_promises(labels, judged_test, folder / "test", folder / "evidence", log)
    return {"rules": recipe.promises}


def trained_reranker(recipe: Recipe, labels: Folder, out: Folder, number: int, log: Log) -> dict[str, Any]:
    """Training `number` (from 0) on these labels; each has a seed of its own."""
    from train.reranker import train_reranker

    changed = {"labels": labels.uri, "seed": recipe.reranker.seed + number}
    return _summary(train_reranker(recipe.reranker.model_copy(update=changed), out, log))


def evaluated(
    recipe: Recipe, folder: Folder, judged_test: Folder, judge_folder: Folder | None, log: Log
) -> dict[str, Any]:
    config = recipe.evaluate.model_copy(
        update={
            "judgements": judged_test.uri if recipe.evaluate.prediction_powered else None,
            "test": (folder / "test").uri,
            "models": [
                (folder / "rerankers" / training).uri for rule in recipe.rules for training in recipe.trainings(rule)
            ],
            "judge_folder": judge_folder.uri if judge_folder else None,
            "zero_shot": zero_shot(recipe),
            "zero_shot_max_length": zero_shot_max_length(recipe),
        }
    )
    found = evaluate(config, folder / "evidence", log)
    return {"warnings": found.get("warnings", [])}


def _counts(manifest: Manifest) -> dict[str, Any]:
    return {"rows_in": manifest.rows_in, "rows": manifest.rows, "quarantined": manifest.quarantined}


def _summary(training: dict[str, Any]) -> dict[str, Any]:
    return {key: training[key] for key in ("steps", "best_step", "seconds", "device", "dtype") if key in training}


def has_table(folder: Folder) -> bool:
    return folder.exists(MANIFEST) and read_manifest(folder).rows_in >= 0
