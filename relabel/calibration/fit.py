"""Calibrate: judgements and human grades of the same pairs in, `calibration.json` out.

    relabel calibrate --judgements RUN/evidence/judgements --human RUN/held_out --out RUN/calibration

The method is the one with the least log-loss under cross-fitting by query; what is stored is fitted on all queries but
the reserved ones. Invariants: every number "after calibration" comes from distributions whose calibrator had not seen
the query; the queries that were used are listed in `queries_seen.parquet`, and count as seen by what comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from relabel.agreement import rater_statistics as rater
from relabel.agreement.measures import reliability
from relabel.calibration import METHODS
from relabel.calibration.cuts import cut_class, fit_cuts
from relabel.calibration.human_pairs import HumanPairs, read_human_pairs
from relabel.calibration.median import median_class
from relabel.calibration.method import log_loss, log_normalised
from relabel.calibration.queries import folds, reserved
from relabel.calibration.record import Calibration, class_logprobs, logprobs_of
from relabel.config import Config
from relabel.errors import InputError
from relabel.evidence.significance import bootstrap
from relabel.lineage import write_queries_seen
from relabel.records import Scale
from relabel.storage import Folder


class CalibrateConfig(Config):
    """What `relabel calibrate` needs.

    Attributes:
        judgements: URI of the raw judge's judgements of the human pairs.
        human: URI of the pairs table with their human grades, of queries that the judge has not seen.
        method: `auto` takes the one with the least cross-fitted log-loss.
        called: the grade that a pair is called: the `median` of its calibrated distribution, or by cuts of the expected
            grade that agree best with people by `quadratic-kappa` (more high grades, fewer equal ones). Probabilities
            are the same.
        folds: parts of the queries in cross-fitting.
        reserve: share of the queries, by hash, that is not used, so that `at-precision` can choose its threshold on
            them.
        resamples: of the queries, for the intervals.
        seed: of folds, reserve and intervals.
    """

    judgements: str
    human: str
    method: Literal["auto", "none", "temperature", "temperature-bias", "isotonic"] = "auto"
    called: Literal["median", "quadratic-kappa"] = "median"
    folds: int = Field(5, ge=2, le=100)
    reserve: float = Field(0.0, ge=0, lt=1)
    resamples: int = Field(1000, ge=100)
    seed: int = 0


def calibrate(config: CalibrateConfig, out: Folder, log: Callable[[str], None] = print) -> dict:
    """Choose and fit a calibration, write `calibration.json` and `queries_seen.parquet` into `out`; returns its facts.

    Raises:
        CircularEvidence: for labels made by a judge, or queries that the judge was trained on.
        InputError: for judgements that are calibrated already, fewer queries than folds, or `quadratic-kappa` where
            people graded on a scale with another number of grades.
    """
    people = read_human_pairs(Folder(config.judgements), Folder(config.human))
    about = people.manifest.about
    if about.get("calibration") or "judge_id" not in about:
        found = "judgements that are calibrated already" if about.get("calibration") else "no judge_id"
        raise InputError(f"{config.judgements}/table.json", found, "judgements of a raw judge", "judge without it")
    aside = reserved(people.queries, config.reserve, config.seed)
    used = people.only(np.array([query not in aside for query in people.queries], dtype=bool))
    queries = len(set(used.queries))
    if queries < config.folds:
        raise InputError(
            config.human,
            f"{queries} queries to calibrate on, {len(aside)} reserved",
            f"at least {config.folds}, one a fold",
            "grade more queries, or set fewer --folds or a smaller --reserve",
        )
    classes, truth = classes_of(used)
    grades = _single_grades(classes, config.human) if config.called == "quadratic-kappa" else None
    logprobs = class_logprobs(logprobs_of(used.judgements, used.manifest.scale), used.manifest.scale, classes)
    fold = folds(used.queries, config.folds, config.seed)
    tried = {name: cross_fitted(name, logprobs, truth, fold) for name in METHODS}
    losses = {name: float(log_loss(values, truth).mean()) for name, values in tried.items()}
    chosen = min(losses, key=losses.get) if config.method == "auto" else config.method
    facts = {
        "judgements": config.judgements,
        "human": config.human,
        "pairs": len(truth),
        "queries": queries,
        "queries_reserved": len(aside),
        "reserve": config.reserve,
        "folds": config.folds,
        "seed": config.seed,
        "left_out": people.left_out,
        "chosen_by": "cross-fitted log-loss" if config.method == "auto" else "configuration",
        "measured": measured(tried, used, classes, truth, config),
    }
    method = METHODS[chosen].fit(log_normalised(logprobs), truth)
    cuts = None
    if grades is not None:
        cuts = tuple(fit_cuts(method.apply(log_normalised(logprobs)) @ grades, truth, len(classes)).tolist())
        facts["called"] = called_by_cuts(chosen, logprobs, truth, fold, grades, used, config) | {"cuts": list(cuts)}
        log(
            f"calibrate: grades are called by cuts of the expected grade at {', '.join(f'{cut:.2f}' for cut in cuts)}; "
            f"quadratic κ, cross-fitted, {facts['called']['kappa_quadratic']['value']:.3f}, and "
            f"{facts['measured'][chosen]['kappa_quadratic']['value']:.3f} with the "
            f"{'likeliest grade' if chosen == 'none' else 'median'}"
        )
    fitted = Calibration(method, about["judge_id"], used.manifest.scale, classes, facts, cuts)
    write_queries_seen(out, set(used.queries))
    fitted.write(out)
    after, before = (facts["measured"][name]["calibration_error"]["value"] for name in (chosen, "none"))
    log(
        f"calibrate: {chosen} by {facts['chosen_by']} on {len(truth):,} pairs of {queries} queries "
        f"({', '.join(f'{name} {value:.4f}' for name, value in losses.items())}); "
        f"calibration error of P(relevant) {before:.3f} before, {after:.3f} after"
    )
    return facts | {"method": chosen}


def classes_of(people: HumanPairs) -> tuple[tuple[tuple[int, ...], ...], np.ndarray]:
    """The classes that are calibrated, and the true one of each row, int [rows].

    Grade by grade where both scales have equally many, lowest with lowest; else not relevant and relevant.
    """
    judge, human = people.manifest.scale, people.human_scale
    if len(judge.grades) == len(human.grades):
        return tuple((grade,) for grade in judge.grades), np.searchsorted(human.grades, people.grades)
    first = judge.grades.index(judge.relevant_from)
    return (judge.grades[:first], judge.grades[first:]), people.relevant.astype(int)


def cross_fitted(method: str, logprobs: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Distributions [rows, classes], those of each fold from a fit on the other folds.

    Args:
        logprobs: of the classes [rows, classes].
        truth: true classes, int [rows].
        fold: of each row's query, int [rows].
    """
    return _from_other_folds(lambda *others: METHODS[method].fit(*others).apply, log_normalised(logprobs), truth, fold)


def _from_other_folds(fit: Callable, logprobs: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """What `fit(logprobs, truth)` of all other folds, a function of log-probabilities, says of each fold's rows."""
    inside = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    others = [np.flatnonzero(fold != number) for number in np.unique(fold)]
    found = [fit(logprobs[out], truth[out])(logprobs[rows]) for rows, out in zip(inside, others, strict=True)]
    return np.concatenate(found)[np.argsort(np.concatenate(inside))]


def called_by_cuts(
    method: str,
    logprobs: np.ndarray,
    truth: np.ndarray,
    fold: np.ndarray,
    grades: np.ndarray,
    people: HumanPairs,
    config: CalibrateConfig,
) -> dict:
    """Quadratic κ and accuracy of the grades called by cuts, each fold's calibration and cuts from the other folds."""

    def fit(logprobs: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = METHODS[method].fit(logprobs, truth)
        cuts = fit_cuts(fitted.apply(logprobs) @ grades, truth, len(grades))
        return lambda rows: cut_class(fitted.apply(rows) @ grades, cuts)

    answer = _from_other_folds(fit, log_normalised(logprobs), truth, fold)
    query, interval = _over_queries(people, config)
    confusion = rater.confusion_by_query(truth, answer, query, query.max() + 1, len(grades))
    return {
        "by": config.called,
        "kappa_quadratic": interval(rater.kappa(confusion, 2)),
        "accuracy": interval(rater.accuracy(confusion)),
    }


def _over_queries(people: HumanPairs, config: CalibrateConfig) -> tuple[np.ndarray, Callable[..., dict]]:
    """The number of each row's query, int [rows], and what makes an interval over queries of a statistic."""
    _, query = np.unique(people.queries.astype(str), return_inverse=True)

    def interval(statistic: Callable) -> dict:
        return bootstrap(statistic, query.max() + 1, config.resamples, seed=config.seed).to_json()

    return query, interval


def _single_grades(classes: tuple[tuple[int, ...], ...], human: str) -> np.ndarray:
    """The grade of each class, where each has one."""
    if any(len(grades) > 1 for grades in classes):
        raise InputError(
            human,
            "human grades on a scale with another number of grades than the judge's",
            "as many, to call grades by quadratic-kappa",
            "calibrate with --called median",
        )
    return np.array([grades[0] for grades in classes], float)


def measured(
    tried: dict[str, np.ndarray],
    people: HumanPairs,
    classes: tuple[tuple[int, ...], ...],
    truth: np.ndarray,
    config: CalibrateConfig,
) -> dict:
    """For each method log-loss, calibration error of P(relevant) with its bins, and κ of the grades, cross-fitted.

    Ten bins of equal width; intervals are BCa over queries. `none` is the judge as it is: the numbers before.
    """
    query, interval = _over_queries(people, config)
    queries = query.max() + 1
    found, relevant_from = {}, _first_relevant(people.manifest.scale, classes)
    raw_loss = log_loss(tried["none"], truth)
    for name, probabilities in tried.items():
        loss = log_loss(probabilities, truth)
        chance = np.clip(probabilities[:, relevant_from:].sum(axis=1), 0, 1)
        bins = rater.calibration_bins(chance, people.relevant, query, queries)
        answer = probabilities.argmax(axis=1) if name == "none" else median_class(probabilities)
        confusion = rater.confusion_by_query(truth, answer, query, queries, len(classes))
        found[name] = {
            "log_loss": interval(rater.row_mean(loss, query, queries)),
            "log_loss_difference": interval(rater.row_mean(loss - raw_loss, query, queries)),
            "calibration_error": interval(rater.calibration_error(bins)),
            "bins": reliability(bins.sum(axis=0)),
            "accuracy": interval(rater.accuracy(confusion)),
            "kappa_quadratic": interval(rater.kappa(confusion, 2)),
        }
    return found


def _first_relevant(scale: Scale, classes: tuple[tuple[int, ...], ...]) -> int:
    """Number of the first class whose grades count as relevant."""
    return next(number for number, grades in enumerate(classes) if grades[0] >= scale.relevant_from)
