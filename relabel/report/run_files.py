"""What a run folder holds, read once for all sections: manifests and JSON records, None where a part is missing.

In: RUN (run.json, estimate.json, pairs/, human/, test/, judge/, judgements/*/, labels/*/, rerankers/*/, robustness/,
evidence/). Nothing but small files is read: no text of a table reaches the page except through the examples in
change.json, agreement.json and agree.json and the queries in metrics.json, all clipped by their writers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from relabel.storage import Folder
from relabel.tables import MANIFEST, Manifest, read_manifest


@dataclass(frozen=True)
class Labels:
    """One rule's labels: manifest and change report."""

    rule: str
    manifest: Manifest | None
    change: dict | None


@dataclass(frozen=True)
class Run:
    """Facts of a run; None and empty where a stage did not run."""

    name: str
    record: dict = field(default_factory=dict)
    pairs: Manifest | None = None
    human: Manifest | None = None
    test: Manifest | None = None
    quarantined: dict[str, Counter] = field(default_factory=dict)
    weak: Manifest | None = None
    weak_training: dict | None = None
    judge_training: dict | None = None
    judgements: dict[str, Manifest] = field(default_factory=dict)
    labels: list[Labels] = field(default_factory=list)
    rerankers: dict[str, dict] = field(default_factory=dict)
    agreement: dict | None = None
    robustness: dict | None = None
    gate: dict | None = None
    calibration: dict | None = None
    promises: dict | None = None
    agree: dict | None = None
    metrics: dict | None = None
    estimate: dict | None = None

    @property
    def changed(self) -> list[Labels]:
        """Labels that have a change report."""
        return [labels for labels in self.labels if labels.change]

    def stage(self, name: str) -> dict[str, Any]:
        """The record of a stage in run.json, empty where there is none."""
        return next((stage for stage in self.record.get("stages") or [] if stage.get("name") == name), {})


def read_run(run: Folder) -> Run:
    """Read the facts of a run folder, whatever is there."""
    parts, record = _folders(run), _json(run, "run.json") or {}
    tables = {name: _manifest(run / name) for name in ("pairs", "weak", "human", "test")}
    judgements = {name: _manifest(run / "judgements" / name) for name in parts["judgements"]}
    labels = [
        Labels(name, _manifest(run / "labels" / name), _json(run / "labels" / name, "change.json"))
        for name in parts["labels"]
    ]
    rerankers = {name: _json(run / "rerankers" / name, "training.json") for name in parts["rerankers"]}
    quarantined = {
        name: _quarantine(run / name) for name in (*tables, "weak/written", "held_out", "evidence/judgements")
    }
    return Run(
        name=record.get("name") or run.uri.rsplit("/", 1)[-1],
        record=record,
        quarantined={name: reasons for name, reasons in quarantined.items() if reasons},
        weak_training=_json(run / "judge_weak", "training.json"),
        judge_training=_json(run / "judge", "training.json"),
        judgements={name: manifest for name, manifest in judgements.items() if manifest},
        labels=sorted((entry for entry in labels if entry.manifest or entry.change), key=_keep_first),
        rerankers=dict(sorted(filter(itemgetter(1), rerankers.items()), key=_original_first)),
        agreement=_json(run / "evidence", "agreement.json"),
        robustness=_json(run / "robustness", "robustness.json"),
        gate=_json(run / "evidence", "gate.json"),
        calibration=_json(run / "calibration", "calibration.json"),
        promises=_json(run / "evidence", "promises.json"),
        agree=_json(run / "evidence", "agree.json"),
        metrics=_json(run / "evidence", "metrics.json"),
        estimate=_json(run, "estimate.json"),
        **tables,
    )


def _folders(run: Folder) -> dict[str, list[str]]:
    """Names of the folders below judgements/, labels/ and rerankers/ that hold a finished part."""
    found: dict[str, list[str]] = {"judgements": [], "labels": [], "rerankers": []}
    for part, names in found.items():
        inside = (name.split("/") for name in (run / part).names(suffix=".json", recursive=True))
        names += sorted({path[0] for path in inside if len(path) == 2})
    return found


def _original_first(entry: tuple[str, dict]) -> tuple[bool, str]:
    rule = (entry[1].get("labels") or {}).get("rule")
    return (rule.get("rule") if isinstance(rule, dict) else rule) != "keep", entry[0]


def _keep_first(labels: Labels) -> tuple[bool, str]:
    return labels.rule != "keep", labels.rule


def _manifest(folder: Folder) -> Manifest | None:
    return read_manifest(folder) if folder.exists(MANIFEST) else None


def _json(folder: Folder, name: str) -> Any:
    return folder.read_json(name) if folder.exists(name) else None


def _quarantine(folder: Folder) -> Counter:
    """Quarantined rows of a table by reason."""
    inside = folder / "quarantine"
    names = inside.names(suffix=".parquet")
    return Counter(reason for name in names for reason in inside.read_table(name, ["reason"])["reason"].to_pylist())
