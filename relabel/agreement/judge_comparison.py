"""Judges of the same pairs against people, and against one of them: agreement of each, paired differences and tests.

Pure functions of arrays. Invariant: every judge is measured on the same pairs and the same draws of queries, so every
difference is paired; p-values are corrected (Holm) for the number of judges compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from relabel.agreement import rater_statistics as rater
from relabel.agreement.measures import agreement, compared_classes
from relabel.evidence.significance import Statistic, bootstrap, holm, pooled_difference_p
from relabel.records import Scale


@dataclass(frozen=True)
class Rater:
    """One judge's grades of the pairs that all judges graded.

    Attributes:
        grades: most probable grade [pairs], on `scale`.
        probabilities: [pairs, grades of the scale].
        graded: whether these are distributions, not only hard grades.
    """

    grades: np.ndarray
    probabilities: np.ndarray
    scale: Scale
    graded: bool

    def expected_degree(self) -> np.ndarray:
        """The expected grade as a degree in [0, 1], [pairs]."""
        return self.probabilities @ self.scale.degree(np.array(self.scale.grades, float))


@dataclass(frozen=True)
class Draws:
    """How intervals and tests are drawn."""

    resamples: int
    permutations: int
    confidence: float
    seed: int


def measured(human: np.ndarray, judge: Rater, query_ids: list[str], human_scale: Scale, draws: Draws) -> dict:
    """`agreement` without the parts that need free scorers, or distributions where the judge gave hard grades."""
    found = agreement(
        human, judge.grades, judge.probabilities, query_ids, human_scale, judge.scale,
        resamples=draws.resamples, confidence=draws.confidence, seed=draws.seed,
    )  # fmt: skip
    left = {"trust", "verdict", "comparisons"} | (set() if judge.graded else {"calibration"})
    return {name: value for name, value in found.items() if name not in left}


def compared(
    human: np.ndarray,
    raters: Mapping[str, Rater],
    reference: str,
    query_ids: list[str],
    human_scale: Scale,
    draws: Draws,
) -> list[dict]:
    """Differences judge − reference in AUC, quadratic κ and binary κ, with intervals and corrected p-values.

    Quadratic κ is compared only between judges whose scales have as many grades as people's, since it falls when
    grades are merged.

    Returns:
        one dictionary a measure and judge: `measure`, `judge`, `reference`, `difference` with its interval, `p`,
        `p_holm`, `tests_corrected_for`.
    """
    names, query = np.unique(np.asarray(query_ids, dtype=object).astype(str), return_inverse=True)
    rows = []
    for measure, statistics in _statistics(human, raters, query, len(names), human_scale).items():
        if reference not in statistics:
            continue
        tested = []
        for name, own in statistics.items():
            if name == reference:
                continue

            def difference(weights: np.ndarray, own=own, other=statistics[reference]) -> np.ndarray:
                return own(weights) - other(weights)

            interval = bootstrap(difference, len(names), draws.resamples, draws.confidence, draws.seed)
            p = pooled_difference_p(difference, len(names), draws.permutations, draws.seed)
            tested.append({"measure": measure, "judge": name, "reference": reference,
                           "difference": interval.to_json(), "p": p})  # fmt: skip
        corrected = holm([row["p"] for row in tested])
        rows += [
            row | {"p_holm": float(p), "tests_corrected_for": len(tested)}
            for row, p in zip(tested, corrected, strict=True)
        ]
    return rows


def _statistics(human, raters, query, queries, human_scale) -> dict[str, dict[str, Statistic]]:
    """Measure → judge → statistic."""
    at = human_scale.relevant_from
    relevant = human >= at
    found: dict[str, dict[str, Statistic]] = {f"AUC(≥{at})": {}, "quadratic κ": {}, "κ, relevant or not": {}}
    auc, quadratic, binary = found.values()
    for name, one in raters.items():
        auc[name] = rater.auc(one.expected_degree(), relevant, query)
        if len(one.scale.grades) == len(human_scale.grades):
            truth, answer, classes, _ = compared_classes(human, one.grades, human_scale, one.scale)
            quadratic[name] = rater.kappa(rater.confusion_by_query(truth, answer, query, queries, len(classes)), 2)
        called = (one.grades >= one.scale.relevant_from).astype(int)
        binary[name] = rater.kappa(rater.confusion_by_query(relevant.astype(int), called, query, queries, 2), 0)
    return found
