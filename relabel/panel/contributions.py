"""What each member of a panel is worth: its own measures, its weights, and the panel without it.

All on the same pairs, all with the same resamples of queries, so differences are paired. A member's own distributions
are taken as they are; `alone` is the panel of that member only, which has what a bare score lacks: a map to grades that
was fitted. Everything fitted is cross-fitted. Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relabel.agreement import rater_statistics as rater
from relabel.calibration.median import median_class
from relabel.evidence.significance import Statistic, bootstrap
from relabel.panel.cross_fit import cross_fitted
from relabel.panel.ordinal import log_loss
from relabel.records import Scale


@dataclass(frozen=True)
class Truth:
    """Human grades of some pairs.

    Attributes:
        classes: index of each pair's grade on `scale` [pairs].
        query: number of each pair's query [pairs].
        queries: how many there are.
    """

    classes: np.ndarray
    query: np.ndarray
    queries: int
    scale: Scale

    @property
    def relevant(self) -> np.ndarray:
        return self.classes >= self.scale.grades.index(self.scale.relevant_from)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; see `significance.bootstrap`."""

    resamples: int
    confidence: float
    seed: int

    def interval(self, statistic: Statistic, queries: int) -> dict:
        return bootstrap(statistic, queries, self.resamples, self.confidence, self.seed).to_json()


@dataclass(frozen=True)
class Answer:
    """Distributions over some judge's grades [pairs, grades], and the class that it calls each pair [pairs]."""

    probabilities: np.ndarray
    classes: np.ndarray

    @classmethod
    def of_panel(cls, probabilities: np.ndarray) -> Answer:
        """A panel's answer: it calls a pair the median grade."""
        return cls(probabilities, median_class(probabilities))


def statistics(answer: Answer, truth: Truth) -> dict[str, Statistic]:
    """`auc` at the scale's relevant grade by the expected degree; where the grades are as many as the human ones also
    `log_loss` (nats) and `quadratic_kappa` of the grades; functions of query weights."""
    probabilities = answer.probabilities
    expected = probabilities @ np.arange(probabilities.shape[1])
    found = {"auc": rater.auc(expected, truth.relevant, truth.query)}
    grades = len(truth.scale.grades)
    if probabilities.shape[1] == grades:
        losses = log_loss(np.log(np.maximum(probabilities, 1e-12)), truth.classes)
        found["log_loss"] = rater.row_mean(losses, truth.query, truth.queries)
        confusion = rater.confusion_by_query(truth.classes, answer.classes, truth.query, truth.queries, grades)
        found["quadratic_kappa"] = rater.kappa(confusion, 2)
    return found


def measures(answer: Answer, truth: Truth, how: Bootstrap) -> dict:
    """`statistics` with their intervals."""
    found = statistics(answer, truth)
    return {name: how.interval(statistic, truth.queries) for name, statistic in found.items()}


def differences(ours: Answer, theirs: Answer, truth: Truth, how: Bootstrap) -> dict:
    """`statistics` of `ours` − those of `theirs`, paired; only what both have."""
    own, other = statistics(ours, truth), statistics(theirs, truth)
    return {
        name: how.interval(lambda w, a=own[name], b=other[name]: a(w) - b(w), truth.queries)
        for name in own
        if name in other
    }


def calibration(probabilities: np.ndarray, truth: Truth, how: Bootstrap) -> dict:
    """Expected calibration error of the probability of being relevant, with its interval."""
    first = truth.scale.grades.index(truth.scale.relevant_from)
    chance = np.clip(probabilities[:, first:].sum(axis=1), 0, 1)
    bins = rater.calibration_bins(chance, truth.relevant, truth.query, truth.queries)
    return how.interval(rater.calibration_error(bins), truth.queries)


def contributions(
    names: Sequence[str],
    own: Sequence[Answer],
    features: Sequence[np.ndarray],
    truth: Truth,
    folds: int,
    l2: float | None,
    how: Bootstrap,
) -> tuple[np.ndarray, dict]:
    """Cross-fitted distributions of the panel [pairs, grades] and what they and each member are worth.

    Args:
        names: of the members.
        own: each member's answers as they are.
        features: each member's features [pairs, …].
        folds, l2: see `cross_fit.cross_fitted`.

    Returns:
        The distributions, and `panel` (measures and calibration), `members` (for each its `own` measures, `alone`,
        and `panel_less_without`: the panel − the panel without it, `null` where it is the only member), `best_member`
        (the greatest own AUC) and `panel_less_best`: the panel − that member, as it is (`own`) and `alone`.
    """
    grades = len(truth.scale.grades)

    def cross(which: Sequence[int]) -> Answer:
        chosen = np.hstack([features[place] for place in which])
        return Answer.of_panel(np.exp(cross_fitted(chosen, truth.classes, truth.query, grades, folds, l2, how.seed)))

    places = range(len(names))
    panel = cross(places)
    alone = [panel if len(names) == 1 else cross([place]) for place in places]
    members = []
    for place, name in enumerate(names):
        rest = [other for other in places if other != place]
        without = differences(panel, cross(rest), truth, how) if rest else None
        members.append(
            {
                "name": name,
                "own": measures(own[place], truth, how),
                "alone": measures(alone[place], truth, how),
                "panel_less_without": without,
            }
        )
    best = max(places, key=lambda place: members[place]["own"]["auc"]["value"])
    found = {
        "panel": measures(panel, truth, how) | {"calibration_error": calibration(panel.probabilities, truth, how)},
        "members": members,
        "best_member": names[best],
        "panel_less_best": {
            "own": differences(panel, own[best], truth, how),
            "alone": differences(panel, alone[best], truth, how),
        },
    }
    return panel.probabilities, found
