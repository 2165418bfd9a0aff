"""Cuts of the expected grade that agree best with people by quadratic κ: another way to call a grade than the median.

Quadratic κ rewards a rater who uses all grades as often as people do; the median of a calibrated distribution hardly
ever reaches the highest. Cuts leave the distributions alone and decide only what a pair is called.
"""

from __future__ import annotations

import numpy as np

from relabel.agreement import rater_statistics as rater

#: Places that a cut is tried at: quantiles of the expected grades.
PLACES = 100
#: Rounds of moving one cut at a time, the others held; no cut moves any more after two or three.
ROUNDS = 5


def cut_class(expected: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The number of cuts that do not lie above each expected grade, int [rows]."""
    return np.searchsorted(cuts, expected, side="right")


def fit_cuts(expected: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Cuts [classes − 1], ascending, under which the classes of `expected` have the greatest quadratic κ with `truth`.

    Starts where the classes are as frequent as the true ones, then moves one cut at a time.

    Args:
        expected: expected grades [rows].
        truth: true classes, int [rows].
    """
    places = np.unique(np.quantile(expected, np.linspace(0, 1, PLACES + 1)[1:]))
    shares = np.cumsum(np.bincount(truth, minlength=classes))[:-1] / len(truth)
    cuts = np.quantile(expected, shares)
    best = _kappa(expected, truth, cuts, classes)
    for _ in range(ROUNDS):
        before = best
        for number in range(len(cuts)):
            low = cuts[number - 1] if number else -np.inf
            high = cuts[number + 1] if number + 1 < len(cuts) else np.inf
            for place in places[(places >= low) & (places <= high)]:
                tried = np.r_[cuts[:number], place, cuts[number + 1 :]]
                value = _kappa(expected, truth, tried, classes)
                if value > best:
                    cuts, best = tried, value
        if best == before:
            break
    return cuts


def _kappa(expected: np.ndarray, truth: np.ndarray, cuts: np.ndarray, classes: int) -> float:
    everything = np.zeros(len(truth), int)
    confusion = rater.confusion_by_query(truth, cut_class(expected, cuts), everything, 1, classes)
    value = float(rater.kappa(confusion, 2)(np.ones((1, 1)))[0])
    return value if np.isfinite(value) else -1.0
