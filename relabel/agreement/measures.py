"""A judge against people on held-out pairs: accuracy, κ, α, AUC, error, calibration, and the scorers that cost nothing.

Pure functions of arrays; `measure_judge` reads the tables and writes `agreement.json`. Scales may differ:
grades are compared one by one where both scales have equally many (lowest with lowest), otherwise as relevant or not,
each by its own scale; scores are compared as degrees in [0, 1]. Invariant: every value has the interval of the same
resamples of queries, and every comparison with another scorer is paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from relabel.agreement import rater_statistics as rater
from relabel.agreement.verdict import plain_verdict, trust
from relabel.errors import InputError
from relabel.evidence.significance import Interval, Statistic, bootstrap, mean_statistic
from relabel.records import Scale


def agreement(
    human: np.ndarray,
    grades: np.ndarray,
    probabilities: np.ndarray,
    query_ids: Sequence[str],
    human_scale: Scale,
    judge_scale: Scale,
    others: Mapping[str, np.ndarray] | None = None,
    sources: Mapping[str, int] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict:
    """Agreement of a judge with people, with BCa intervals from a bootstrap over queries.

    Args:
        human: grades by people [pairs], on `human_scale`.
        grades: the judge's most probable grade [pairs], on `judge_scale`.
        probabilities: the judge's distribution over the grades of `judge_scale` [pairs, grades].
        query_ids: the query of each pair [pairs].
        others: name → scores [pairs] of other scorers on the same pairs, any monotone unit.
        sources: where the grades come from, with their numbers; anything but `human` is pointed out.

    Returns:
        JSON values; `verdict` is a list of plain sentences and `trust` is no, doubtful or yes.

    Raises:
        InputError: where there is no pair, a grade is off its scale, or a score is not a number.
    """
    human, grades, probabilities = np.asarray(human, float), np.asarray(grades), np.asarray(probabilities, float)
    _check(human, grades, probabilities, human_scale, judge_scale, others or {})
    names, query = np.unique(np.asarray(query_ids, dtype=object).astype(str), return_inverse=True)
    queries = len(names)

    def interval(statistic: Statistic) -> Interval:
        return bootstrap(statistic, queries, resamples, confidence, seed)

    expected = probabilities @ judge_scale.degree(np.array(judge_scale.grades, float))
    truth, answer, classes, compared = compared_classes(human, grades, human_scale, judge_scale)
    confusion = rater.confusion_by_query(truth, answer, query, queries, len(classes))
    relevant, called = human >= human_scale.relevant_from, grades >= judge_scale.relevant_from
    binary = rater.confusion_by_query(relevant.astype(int), called.astype(int), query, queries, 2)
    chance_relevant = probabilities[:, np.array(judge_scale.grades) >= judge_scale.relevant_from].sum(axis=1)
    bins = rater.calibration_bins(np.clip(chance_relevant, 0, 1), relevant, query, queries)
    degree = human_scale.degree(human)
    span = human_scale.grades[-1] - human_scale.grades[0]
    thresholds = [grade for grade in human_scale.grades[1:] if 0 < np.sum(human >= grade) < len(human)]
    if human_scale.relevant_from not in thresholds:
        thresholds.append(human_scale.relevant_from)
    measure = _Ordering(human, query, queries, sorted(thresholds), interval)
    found = {
        "pairs": len(human),
        "queries": queries,
        "confidence": confidence,
        "resamples": resamples,
        "interval": "BCa bootstrap over queries",
        "human_scale": human_scale.to_json(),
        "judge_scale": judge_scale.to_json(),
        "compared": compared,
        "human_sources": dict(sources or {}),
        "human_grades": {str(grade): float(np.mean(human == grade)) for grade in human_scale.grades},
        "judge_grades": {str(grade): float(np.mean(grades == grade)) for grade in judge_scale.grades},
        "relevant_share": float(relevant.mean()),
        "judge_relevant_share": interval(rater.row_mean(called, query, queries)).to_json(),
        "majority": _majority(truth, classes),
        "accuracy": interval(rater.accuracy(confusion)).to_json(),
        "kappa": {
            name: interval(rater.kappa(confusion, power)).to_json()
            for name, power in (("unweighted", 0), ("linear", 1), ("quadratic", 2))
        },
        "alpha": interval(rater.krippendorff_alpha(confusion)).to_json(),
        "confusion": {"classes": classes, "rows": "human", "columns": "judge", "counts": _counts(confusion)},
        "binary": {
            "accuracy": interval(rater.accuracy(binary)).to_json(),
            "majority_accuracy": float(max(relevant.mean(), 1 - relevant.mean())),
            "kappa": interval(rater.kappa(binary, 0)).to_json(),
            "counts": _counts(binary),
        },
        "auc": {str(at): measure.auc(expected, at) for at in measure.thresholds},
        "kendall": interval(mean_statistic(rater.kendall_by_query(expected, human, query, queries))).to_json(),
        "mean_absolute_error": {
            "unit": "human grades",
            "judge": interval(rater.row_mean(span * np.abs(expected - degree), query, queries)).to_json(),
            "constant": float(np.mean(np.abs(human - np.median(human)))),
            "constant_grade": float(np.median(human)),
        },
        "calibration": {
            "error": interval(rater.calibration_error(bins)).to_json(),
            "mean_probability": float(chance_relevant.mean()),
            "bins": reliability(bins.sum(axis=0)),
        },
        "comparisons": [measure.comparison(name, expected, scores) for name, scores in (others or {}).items()],
    }
    return found | {"trust": trust(found), "verdict": plain_verdict(found)}


class _Ordering:
    """AUCs and rank correlation of scorers of the same pairs, with their paired differences."""

    def __init__(self, human, query, queries, thresholds, interval):
        self.human, self.query, self.queries, self.interval = human, query, queries, interval
        self.thresholds = thresholds

    def _pooled(self, scores: np.ndarray, at: int) -> Statistic:
        return rater.auc(scores, self.human >= at, self.query)

    def _within(self, scores: np.ndarray, at: int) -> np.ndarray:
        return rater.auc_by_query(scores, self.human >= at, self.query, self.queries)

    def auc(self, scores: np.ndarray, at: int) -> dict:
        return {
            "positives": int(np.sum(self.human >= at)),
            "pooled": self.interval(self._pooled(scores, at)).to_json(),
            "within_query": self.interval(mean_statistic(self._within(scores, at))).to_json(),
        }

    def comparison(self, name: str, judge: np.ndarray, scores: np.ndarray) -> dict:
        """`difference` is judge − other on the same resamples, so positive favours the judge."""
        found = {}
        for at in self.thresholds:
            own, other = self._pooled(judge, at), self._pooled(scores, at)
            within = self._within(judge, at) - self._within(scores, at)
            found[str(at)] = self.auc(scores, at) | {
                "difference": self.interval(lambda w, own=own, other=other: own(w) - other(w)).to_json(),
                "difference_within_query": self.interval(mean_statistic(within)).to_json(),
            }
        kendall = rater.kendall_by_query(scores, self.human, self.query, self.queries)
        return {"name": name, "auc": found, "kendall": self.interval(mean_statistic(kendall)).to_json()}


def _check(human, grades, probabilities, human_scale, judge_scale, others) -> None:
    if not len(human):
        raise InputError("agreement", "no pairs", "at least one pair with a human grade")
    for name, values, scale in (("human", human, human_scale), ("judge", grades, judge_scale)):
        wrong = values[~np.isin(values, scale.grades)]
        if len(wrong):
            raise InputError(f"{name} grades", f"the grade {wrong[0]:g}", f"one of {list(scale.grades)}")
    if probabilities.shape != (len(human), len(judge_scale.grades)):
        wanted = f"[{len(human)}, {len(judge_scale.grades)}]"
        raise InputError("judge probabilities", f"shape {list(probabilities.shape)}", f"shape {wanted}")
    for name, scores in others.items():
        if np.isnan(np.asarray(scores, float)).any():
            raise InputError(f"scores of {name}", "a score that is not a number", "a number for every pair")


def compared_classes(
    human: np.ndarray, grades: np.ndarray, human_scale: Scale, judge_scale: Scale
) -> tuple[np.ndarray, np.ndarray, list[str], str]:
    """Class indices of both raters [pairs], the names of the classes, and in words what is compared."""
    if len(human_scale.grades) == len(judge_scale.grades):
        truth = np.searchsorted(human_scale.grades, human)
        answer = np.searchsorted(judge_scale.grades, grades)
        same = human_scale.grades == judge_scale.grades
        words = "grade by grade" if same else "grade by grade, lowest of one scale with lowest of the other"
        return truth, answer, [str(grade) for grade in human_scale.grades], words
    truth = (human >= human_scale.relevant_from).astype(int)
    answer = (grades >= judge_scale.relevant_from).astype(int)
    return truth, answer, ["not relevant", "relevant"], "relevant or not, the scales have different numbers of grades"


def _majority(truth: np.ndarray, classes: list[str]) -> dict:
    counts = np.bincount(truth, minlength=len(classes))
    return {"answer": classes[int(counts.argmax())], "accuracy": float(counts.max() / counts.sum())}


def _counts(confusion: np.ndarray) -> list[list[int]]:
    return confusion.sum(axis=0).astype(int).tolist()


def reliability(sums: np.ndarray) -> list[dict]:
    """Filled bins of a reliability diagram from their sums of rows, probability and truth [bins, 3]."""
    return [
        {
            "from": place / len(sums),
            "to": (place + 1) / len(sums),
            "pairs": int(rows),
            "mean_probability": float(probability / rows),
            "relevant_share": float(relevant / rows),
        }
        for place, (rows, probability, relevant) in enumerate(sums)
        if rows
    ]
