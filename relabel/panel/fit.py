"""Fit a panel: judgements of several judges and human grades become one judge.

In: judgements tables of the same pairs, and the pairs table with human labels; out: `panel.json` (see `record`),
`queries_seen.parquet`, and `cross_fitted/`, a judgements table of the human pairs in which no pair's distribution comes
from a model that has seen its query, so that agreement can be measured on it. Invariant: no label made by a judge, and
no query that a trained member has seen, enters the fit; what is left out is counted.

    relabel fit-panel --judgements A B C --human PAIRS --out DIR
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from relabel.calibration.median import median_class
from relabel.config import Config
from relabel.errors import ConfigError, InputError
from relabel.evidence.circularity import label_sources, source_warnings
from relabel.judges.base import judgement_table
from relabel.lineage import QUERIES_SEEN, query_fingerprint, seen_by_judge, write_queries_seen
from relabel.panel.contributions import Answer, Bootstrap, contributions
from relabel.panel.cross_fit import fitted
from relabel.panel.join import Joined, join, truth_of
from relabel.panel.record import PANEL, FeatureKind, Member, PanelRecord, member_features, write_panel
from relabel.panel.sentences import report
from relabel.records import Scale, ScaleConfig
from relabel.storage import Folder
from relabel.tables import Manifest, TableWriter, read_manifest

CROSS_FITTED = "cross_fitted"


class FitPanelConfig(Config):
    """What `relabel fit-panel` needs.

    Attributes:
        judgements: judgements tables of the human pairs, one a member, named by their last part.
        human: pairs table with labels by people.
        features: what is taken of a member: log-odds of each grade's `thresholds`, or of its expected `degree` alone.
        folds: folds of queries for cross-fitting.
        l2: penalty of the weights (see `ordinal`); null: chosen by cross-validation over queries.
        resamples: bootstrap resamples of the queries.
        confidence: confidence level of the intervals.
        seed: of folds and bootstrap.
    """

    judgements: list[str] = Field(min_length=1, max_length=64)
    human: str
    features: FeatureKind = "thresholds"
    folds: int = Field(10, ge=2, le=1000)
    l2: float | None = Field(None, ge=0)
    resamples: int = Field(1000, ge=100)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    seed: int = Field(0, ge=0)


def fit_panel(config: FitPanelConfig, out: Folder, log: Callable[[str], None] = print) -> PanelRecord:
    """Fit a panel of judges on human grades, measure it by cross-fitting over queries, write it into `out`.

    Raises:
        CircularEvidence: for labels made by a judge, and where every query was seen by a trained member.
        ConfigError: where two members have one name.
        InputError: for tables that do not fit together, or too few queries.
    """
    names = _member_names(config.judgements)
    folders = [Folder(uri) for uri in config.judgements]
    manifests = [_judgements_manifest(folder) for folder in folders]
    human = Folder(config.human)
    scale = read_manifest(human, "pairs").scale
    if scale is None:
        raise InputError(human.uri, "a table without a label scale", "pairs with human labels")
    seen = set().union(*(_seen_by(manifest.about) for manifest in manifests))
    joined = join(human, folders, names, seen)
    truth = truth_of(joined.pairs, scale, human.uri)
    scales = [manifest.scale for manifest in manifests]
    own = [answer_of(table, its) for table, its in zip(joined.judged, scales, strict=True)]
    features = [member_features(one.probabilities, config.features) for one in own]
    log(f"fit-panel: {len(truth.classes):,} pairs of {truth.queries} queries, left out: {_counted(joined.left_out)}")
    for line in source_warnings(joined.pairs):
        log(f"fit-panel: {line}")
    how = Bootstrap(config.resamples, config.confidence, config.seed)
    panel, found = contributions(names, own, features, truth, config.folds, config.l2, how)
    grades = len(scale.grades)
    model, l2 = fitted(np.hstack(features), truth.classes, truth.query, grades, config.l2, config.seed + 1)
    splits = np.cumsum([one.shape[1] for one in features])[:-1]
    record = PanelRecord(
        scale=ScaleConfig(**scale.to_json()),
        features=config.features,
        members=[_member(name, manifest) for name, manifest in zip(names, manifests, strict=True)],
        thresholds=model.thresholds.tolist(),
        weights=[part.tolist() for part in np.split(model.weights, splits)],
        fit={
            "human": config.human,
            "judgements": config.judgements,
            "pairs": len(truth.classes),
            "queries": truth.queries,
            "left_out": joined.left_out,
            "label_sources": label_sources(joined.pairs),
            "l2": l2,
            "folds": config.folds,
            "seed": config.seed,
            "interval": f"BCa bootstrap over queries, {config.resamples} resamples, {config.confidence:g}",
        },
        measures=found,
    )
    record = record.model_copy(update={"panel_id": record.hashed_id})
    out.remove(PANEL)  # a panel that was here before is none while its tables are replaced
    write_cross_fitted(out / CROSS_FITTED, record, joined, panel, config.human)
    texts = joined.pairs["query"].unique().to_pylist()
    write_queries_seen(out, seen | {query_fingerprint(text) for text in texts})
    record = write_panel(out, record)
    for line in report(record):
        log(f"fit-panel: {line}")
    return record


def answer_of(judgements: pa.Table, scale: Scale) -> Answer:
    """What a member answered: its distributions, and the grades that it gave."""
    probabilities = np.array(judgements["probabilities"].to_pylist(), float)
    return Answer(probabilities, np.searchsorted(scale.grades, judgements["grade"].to_numpy()))


def write_cross_fitted(
    out: Folder, record: PanelRecord, joined: Joined, probabilities: np.ndarray, human: str
) -> Manifest:
    """The judgements table of the human pairs by cross-fitted panels; it bears the id of the whole panel."""
    judge = _Identity(record.panel_id, record.judge_scale)
    tokens = np.sum([table["prompt_tokens"].to_numpy() for table in joined.judged], axis=0)
    truncated = np.any([table["truncated"].to_numpy() for table in joined.judged], axis=0)
    logprobs = np.log(np.maximum(probabilities, 1e-12))
    rows = judgement_table(joined.pairs, logprobs, tokens, truncated, judge, median_class(probabilities))
    writer = TableWriter(out, "judgements", record.judge_scale)
    writer.write(rows)
    about = {"judge_id": record.panel_id, "engine": "panel", "cross_fitted": True, "pairs": human}
    return writer.finish(about | {"folds": record.fit["folds"]})


@dataclass(frozen=True)
class _Identity:
    judge_id: str
    scale: Scale


def _counted(left_out: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in left_out.items() if count) or "none"


def _member_names(judgements: list[str]) -> list[str]:
    names = [posixpath.basename(Folder(uri).uri) for uri in judgements]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(
            "judgements", f"two tables named {twice[0]!r}", "tables whose last parts differ", "rename one"
        )
    return names


def _seen_by(about: Mapping[str, Any]) -> set[str]:
    """What a member has seen; raises InputError where a trained one's list is gone, since nothing could be checked."""
    judge_folder = about.get("judge_folder")
    if judge_folder and not Folder(judge_folder).exists(QUERIES_SEEN):
        raise InputError(
            judge_folder,
            f"no {QUERIES_SEEN} of a trained member",
            "the judge's folder, whose queries must not be fitted on",
            "put the folder back where the judgements' table.json says",
        )
    return seen_by_judge(about)


def _judgements_manifest(folder: Folder) -> Manifest:
    manifest = read_manifest(folder, "judgements")
    if manifest.scale is None or not manifest.about.get("judge_id"):
        raise InputError(folder.uri, "a table without a scale or judge id", "a table that `relabel judge` wrote")
    if manifest.about.get("engine") == "panel":
        raise InputError(folder.uri, "judgements of a panel", "members that are no panels", "name the panel's members")
    return manifest


def _member(name: str, manifest: Manifest) -> Member:
    config = manifest.about.get("config")
    scale = ScaleConfig(**manifest.scale.to_json())
    return Member(name=name, judge_id=manifest.about["judge_id"], scale=scale, config=config)
