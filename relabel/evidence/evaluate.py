"""Evidence on human judgements: the first stage, the zero-shot encoder and every re-ranker on one test pool.

In: a pairs table with human labels (the pool) and model folders; out: a rankings table and `metrics.json` beside it.
Each system orders the candidates of each query; `comparison` measures and tests. Invariants: labels made by a
judge are refused; so are queries that any model, or the judge behind its labels, has seen in training.

Run: `relabel evaluate --test PAIRS --models DIR DIR --zero-shot all-minilm-l6-v2 --out DIR`
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from relabel.config import Config
from relabel.errors import ConfigError, InputError
from relabel.evidence.circularity import check_lineage, label_sources, refuse_judge_labels, source_warnings
from relabel.evidence.comparison import System, compare
from relabel.evidence.findings import powered_findings
from relabel.evidence.judged_everywhere import judged_pool, powered_means, refuse_too_few
from relabel.evidence.metrics import Gain, Pool, Ranked, averaged, ndcg_name, rank_pool
from relabel.evidence.overlap import document_overlap, overlap_notes
from relabel.lineage import trained_folder
from relabel.records import RANKINGS
from relabel.scoring import encoder_scores
from relabel.storage import Folder
from relabel.tables import TableWriter, read_manifest, read_whole

METRICS = "metrics.json"
FIRST_STAGE = "first stage (BM25)"
ZERO_SHOT = "zero-shot encoder"
#: Ends the name of a further training of a system.
FURTHER = re.compile(r"~[1-9]\d*$")
#: Characters of a query's text that metrics.json keeps.
QUERY_CLIP = 200


class EvaluateConfig(Config):
    """What `relabel evaluate` needs."""

    OPTION_ALIASES: ClassVar[dict[str, str]] = {"test": "--dataset", "models": "--model"}

    test: str = Field(description="URI of the pairs table with human labels; its candidates are what systems rank")
    models: list[str] = Field(
        default_factory=list,
        description="folders of trained re-rankers, named by their last part; NAME~2, NAME~3, … are further trainings "
        "of NAME with other seeds: a query's value is the mean over them",
    )
    first_stage: bool = Field(True, description="include the order of the first stage")
    zero_shot: str | None = Field(None, description="untrained encoder beside them: a package model or folder")
    zero_shot_max_length: int | None = Field(
        None, ge=8, description="tokens of a text that the untrained encoder reads; null: as many as it can"
    )
    judgements: str | None = Field(
        None,
        description="a judge's table of the test pairs; where people graded only some queries, nDCG over all of them "
        "is given with its help (prediction-powered; the graded ones must be a random sample)",
    )
    judge_folder: str | None = Field(None, description="the trained judge, whose training queries are refused as well")
    pool: Literal["all", "candidates"] = Field(
        "all", description="rank all pairs of the table, or those with a first-stage rank (others count as missed)"
    )
    gain: Gain = Field("linear", description="gain of nDCG: linear (grade) or exponential (2^grade − 1)")
    allow_seen_queries: bool = Field(
        False, description="measure although a model has seen test queries; it is reported"
    )
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the queries")
    permutations: int = Field(10_000, ge=100, description="random sign assignments of the paired tests")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence level of the intervals")
    seed: int = Field(0, description="seed of ties, bootstrap and tests")


def evaluate(config: EvaluateConfig, out: Folder, log: Callable[[str], None] = print) -> dict:
    """Rank, measure, compare; writes the rankings table and `metrics.json` into `out`, returns the latter.

    Raises:
        CircularEvidence: for labels made by a judge, and for test queries seen in training.
        ConfigError: where there is no system to evaluate or two have one name.
        InputError: for a test table without a scale, human labels, or the first-stage ranks that are asked for; for
            judgements of other pairs, or fewer than five graded or two ungraded queries beside them.
    """
    names = _model_names(config)
    folder = Folder(config.test)
    pairs = read_test(folder, config.first_stage)
    scale = read_manifest(folder, "pairs").scale
    lineage = check_lineage(pairs, config.test, _lineage_folders(config), config.allow_seen_queries)
    pool = pool_of(pairs, scale, config.pool, folder.uri)
    counts = f"{len(pool.query_ids)} queries, {pool.ranked.sum()} candidates, {pool.judged.sum()} judged pairs"
    log(f"evaluate: {counts}")
    judged = None
    if config.judgements:
        refuse_too_few(pairs, folder.uri)
        judged = judged_pool(pool, pairs, Folder(config.judgements), config.gain)
    by_judge: dict[str, list[np.ndarray]] = {}
    writer = TableWriter(out, "rankings")
    trained: dict[str, list[tuple[System, Ranked]]] = {}
    for system, scores in _scored(config, names, pairs, pool, log):
        one = rank_pool(pool, scores, config.gain, config.seed)
        trained.setdefault(training_of(system.name), []).append((system, one))
        if judged:
            by_judge.setdefault(training_of(system.name), []).append(judged.ndcg(scores, config.seed))
        writer.write(rankings_of(system.name, pool, one.rank, scores))
    ranked = [_one_system(found, config.gain) for found in trained.values()]
    found = compare(pool, ranked, config.gain, config.resamples, config.permutations, config.confidence, config.seed)
    if judged:
        means = {name: np.mean(several, axis=0) for name, several in by_judge.items()}
        found["prediction_powered"] = powered_means(ranked, means, judged, config.gain, config.confidence)
        found["findings"] += powered_findings(found["prediction_powered"])
    texts = dict(zip(pairs["query_id"].to_pylist(), pairs["query"].to_pylist(), strict=True))
    found["per_query"]["queries"] = [texts[query_id][:QUERY_CLIP] for query_id in found["per_query"]["query_ids"]]
    found["test_table"] = {
        "uri": config.test,
        "scale": scale.to_json(),
        "sources": label_sources(pairs),
        "pool": config.pool,
        "seed": config.seed,
    }
    sources, shared = source_warnings(pairs), document_overlap(pairs, _trained_on(config))
    found["lineage"] = lineage | {"documents": shared}
    found["warnings"] = [*lineage["warnings"], *sources, *overlap_notes(shared), *found["warnings"]]
    systems = [system.name for several in trained.values() for system, _ in several]
    writer.finish({"test": config.test, "systems": systems})
    out.write_json(METRICS, found)
    for line in [*found["findings"], *found["warnings"]]:
        log(f"evaluate: {line}")
    return found


def training_of(name: str) -> str:
    """The system that a training is one of: `keep` of `keep~2`."""
    return FURTHER.sub("", name)


def _one_system(trainings: list[tuple[System, Ranked]], gain: Gain) -> tuple[System, Ranked]:
    """Several trainings of one system as one, with what each reached."""
    system, ranked = trainings[0]
    if len(trainings) == 1:
        return system, ranked
    reached = [float(np.nanmean(one.values[ndcg_name(gain)])) for _, one in trainings]
    system = replace(system, name=training_of(system.name), about=system.about | {"trainings": reached})
    return system, averaged([one for _, one in trainings])


def read_test(folder: Folder, first_stage: bool) -> pa.Table:
    """The test pairs, checked for what evidence needs.

    Args:
        first_stage: whether the order of the first stage is among the systems.

    Raises:
        CircularEvidence: for labels made by a judge.
        InputError: for a table without a scale, or without first-stage ranks where they are needed.
    """
    if read_manifest(folder, "pairs").scale is None:
        raise InputError(folder.uri, "a table without a label scale", "pairs with human labels")
    pairs = refuse_judge_labels(read_whole(folder, "pairs"), folder.uri)
    if first_stage:
        first_stage_scores(pairs, folder.uri)
    return pairs


def pool_of(pairs: pa.Table, scale, which: Literal["all", "candidates"], where: str) -> Pool:
    """The pool of a pairs table, queries in their order in the table."""
    query_ids = pairs["query_id"].to_pylist()
    place: dict[str, int] = {}
    for query_id in query_ids:
        place.setdefault(query_id, len(place))
    ranked = np.ones(len(query_ids), bool)
    if which == "candidates":
        ranked = pairs["first_stage_rank"].is_valid().to_numpy()
        if not ranked.any():
            raise InputError(where, "no first-stage ranks", "candidates of a first stage", "use --pool all")
    return Pool(
        list(place),
        np.array([place[query_id] for query_id in query_ids], dtype=np.int64),
        pairs["doc_id"].to_pylist(),
        pairs["label"].to_numpy().astype(float),
        ranked,
        scale,
    )


def first_stage_scores(pairs: pa.Table, where: str) -> np.ndarray:
    """Scores [rows] whose order is that of the first stage; rows that it did not find share the last place.

    The scores themselves where every ranked row has one, so that ties show; otherwise the ranks.
    """
    rank, score = (pairs[name].to_numpy().astype(float) for name in ("first_stage_rank", "first_stage_score"))
    found = ~np.isnan(rank)
    if not found.any():
        raise InputError(
            where,
            "no first-stage ranks",
            "pairs with first_stage_rank",
            "prepare with first_stage: {candidates: judged}, or set first_stage: false (--no-first-stage)",
        )
    order = score if not np.isnan(score[found]).any() else -rank
    return np.where(found, order, np.min(order[found]) - 1)


def rankings_of(system: str, pool: Pool, rank: np.ndarray, scores: np.ndarray) -> pa.Table:
    """Rows of the rankings table, by query and rank."""
    rows = np.flatnonzero(rank > 0)
    rows = rows[np.lexsort((rank[rows], pool.query[rows]))]
    columns = [
        pa.repeat(system, len(rows)),
        pa.array([pool.query_ids[pool.query[row]] for row in rows], pa.string()),
        pa.array([pool.doc_ids[row] for row in rows], pa.string()),
        pa.array(rank[rows], pa.int32()),
        pa.array(np.asarray(scores, float)[rows], pa.float64()),
    ]
    return pa.table(columns, schema=RANKINGS)


def _scored(config: EvaluateConfig, names: list[str], pairs: pa.Table, pool: Pool, log):
    """(system, scores [rows]) of every system, in the order of the tables."""
    if config.first_stage:
        yield System(FIRST_STAGE, "first stage"), first_stage_scores(pairs, config.test)
    models = [(ZERO_SHOT, config.zero_shot)] if config.zero_shot else []
    for name, uri in [*models, *zip(names, config.models, strict=True)]:
        started = perf_counter()
        scores = _scores_by(uri, pairs, pool, config.zero_shot_max_length if name == ZERO_SHOT else None)
        seconds = perf_counter() - started
        log(f"evaluate: {name} scored {int(pool.ranked.sum())} pairs in {seconds:.1f} s")
        about = {"folder": uri, "seconds": round(seconds, 2)}
        if name == ZERO_SHOT:
            yield System(name, "zero-shot", about=about), scores
        else:
            training = _training(uri)
            yield System(name, "re-ranker", _rule(training), about | _trained(training)), scores


def _scores_by(uri: str, pairs: pa.Table, pool: Pool, max_length: int | None) -> np.ndarray:
    model = f"{uri}/model" if Folder(uri).exists("model") else uri
    scores = np.full(pairs.num_rows, np.nan)
    scores[pool.ranked] = encoder_scores(model, pairs.filter(pa.array(pool.ranked)), max_length)
    return scores


def _model_names(config: EvaluateConfig) -> list[str]:
    names = [posixpath.basename(Folder(uri).uri) for uri in config.models]
    everything = names + [FIRST_STAGE] * config.first_stage + [ZERO_SHOT] * bool(config.zero_shot)
    if not everything:
        raise ConfigError(
            "evaluate", "no system", "the first stage, a zero-shot encoder or a model", "add --models DIR"
        )
    lost = sorted({name for name in names if training_of(name) not in names})
    if lost:
        raise ConfigError(
            "evaluate: models",
            f"{lost[0]!r} without {training_of(lost[0])!r}",
            f"the first training of {training_of(lost[0])} beside its others",
        )
    twice = sorted({name for name in everything if everything.count(name) > 1})
    if twice:
        raise ConfigError("evaluate: models", f"two systems called {twice[0]!r}", "folders with different last parts")
    return names


def _lineage_folders(config: EvaluateConfig) -> list[str]:
    judges = [_training(uri).get("labels", {}).get("judge_folder") for uri in config.models]
    start = trained_folder(config.zero_shot) if config.zero_shot else None
    folders = [*config.models, config.judge_folder, *judges, start.uri if start else None]
    return list(dict.fromkeys(uri for uri in folders if uri))


def _trained_on(config: EvaluateConfig) -> list[str]:
    """The pairs tables behind the re-rankers' labels."""
    tables = (_training(uri).get("labels", {}).get("pairs") for uri in config.models)
    return list(dict.fromkeys(uri for uri in tables if uri))


def _training(uri: str) -> dict:
    folder = Folder(uri)
    return folder.read_json("training.json") if folder.exists("training.json") else {}


def _rule(training: dict) -> str | None:
    """Name of the rule that made the labels that a re-ranker was trained on."""
    rule = training.get("labels", {}).get("rule")
    return rule.get("rule") if isinstance(rule, dict) else rule


def _trained(training: dict) -> dict:
    return {name: training[name] for name in ("architecture", "loss", "base_model", "judge_id") if name in training}
