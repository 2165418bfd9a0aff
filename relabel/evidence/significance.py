"""Uncertainty of a mean over queries: bootstrap intervals, paired randomisation tests, Holm's correction.

The query is the unit of resampling everywhere, since pairs of one query are not independent. A statistic is a
function of query weights: row r of `weights` [m, queries] says how often each query is counted in resample r. Point,
jackknife and bootstrap values therefore come from one function. Pure numpy, seeded, no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

#: From query weights [m, queries] to one value a row [m]; NaN where the statistic is undefined.
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; `low` and `high` are NaN where fewer than two queries define it."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict:
        return {name: _finite(getattr(self, name)) for name in ("value", "low", "high")}


def bootstrap(
    statistic: Statistic, queries: int, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Bias-corrected and accelerated (BCa) bootstrap interval over queries.

    Args:
        statistic: value of each row of query weights [m, queries].
        queries: how many queries there are to draw from.
        resamples: bootstrap resamples; those where the statistic is undefined are left out.

    Source: B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987), equations 2.3 and 4.4; the acceleration
    is estimated by the jackknife (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, equation 14.15).
    Where every resample lies on one side of the value, BCa is undefined and the plain percentile interval is given.
    """
    value = float(statistic(np.ones((1, queries)))[0]) if queries else float("nan")
    if queries < 2 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    draws = statistic(query_draws(queries, resamples, seed))
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return Interval(value, float("nan"), float("nan"))
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    below = (np.sum(draws < value) + np.sum(draws == value) / 2) / len(draws)
    if 0 < below < 1:
        tails = _accelerated(tails, below, _jackknife(statistic, queries))
    low, high = np.quantile(draws, tails)
    return Interval(value, float(low), float(high))


def mean_interval(values: np.ndarray, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """BCa interval of the mean of `values` [queries]; see `bootstrap`."""
    return bootstrap(mean_statistic(values), len(values), resamples, confidence, seed)


def mean_statistic(values: np.ndarray) -> Statistic:
    """The weighted mean of `values` [queries] over those that are not NaN."""
    values = np.asarray(values, dtype=float)
    defined = ~np.isnan(values)
    filled = np.where(defined, values, 0.0)
    return lambda weights: ratio(weights @ filled, weights @ defined.astype(float))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def query_draws(queries: int, resamples: int, seed: int) -> np.ndarray:
    """Weights [resamples, queries]: how often each query was drawn in `queries` draws with replacement."""
    random = np.random.default_rng(seed)
    return random.multinomial(queries, np.full(queries, 1 / queries), size=resamples).astype(float)


def paired_randomisation(differences: np.ndarray, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value that the mean of `differences` [queries] is 0: sign-flip (Fisher) randomisation test.

    Every assignment of signs is counted where 2^queries ≤ `resamples`; otherwise `resamples` random ones are drawn and
    the observed one is added, p = (1 + as extreme) / (1 + resamples), so that p is never 0. Zero differences change
    nothing. No queries at all gives 1.

    Source: R. A. Fisher, "The Design of Experiments" (1935), section 21; recommended for retrieval by Smucker, Allan
    and Carterette, "A comparison of statistical significance tests for information retrieval evaluation", CIKM 2007;
    the added 1: Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010).
    """
    differences = np.asarray(differences, dtype=float)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    observed = abs(differences.sum())
    slack = 1e-12 * np.abs(differences).sum()
    if 2 ** len(differences) <= resamples:
        codes = np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences))
        sums = np.where(codes & 1, 1.0, -1.0) @ differences
        return float(np.mean(np.abs(sums) >= observed - slack))
    random = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, 1000):
        signs = random.integers(0, 2, size=(min(1000, resamples - start), len(differences))) * 2.0 - 1.0
        extreme += int(np.sum(np.abs(signs @ differences) >= observed - slack))
    return (1 + extreme) / (1 + resamples)


def pooled_difference_p(statistic: Statistic, queries: int, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value that a difference of two pooled statistics is 0: sign flips of its jackknife pseudo-values.

    A pooled value such as AUC or κ has no value a query; its pseudo-values n·θ − (n − 1)·θ without query i stand in
    for them, as nearly independent and centred on the difference. 1 where it is undefined, or fewer than two queries.

    Source: J. N. Arvesen, "Jackknifing U-statistics", Ann. Math. Statist. 40 (1969), and `paired_randomisation`.
    """
    value = float(statistic(np.ones((1, queries)))[0]) if queries > 1 else float("nan")
    if np.isnan(value):
        return 1.0
    without = _jackknife(statistic, queries)
    pseudo = queries * value - (queries - 1) * without[~np.isnan(without)]
    return paired_randomisation(np.where(np.abs(pseudo) < 1e-12, 0.0, pseudo), resamples, seed)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values [tests] adjusted for the whole family by the step-down method.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979).
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def standardised_difference(differences: np.ndarray) -> float:
    """Mean of the paired differences over their standard deviation (Cohen's d_z, n − 1); NaN where that is 0."""
    differences = np.asarray(differences, dtype=float)
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    return float(differences.mean() / spread) if spread > 0 else float("nan")


def _jackknife(statistic: Statistic, queries: int, rows: int = 256) -> np.ndarray:
    """The statistic without each query in turn [queries], in blocks so that memory stays small."""
    left_out = np.arange(queries)
    return np.concatenate(
        [
            statistic((left_out[start : start + rows, None] != left_out).astype(float))
            for start in range(0, queries, rows)
        ]
    )


def _accelerated(tails: tuple[float, float], below: float, jackknife: np.ndarray) -> list[float]:
    """The two quantiles of the bootstrap distribution that BCa reads off."""
    normal = NormalDist()
    bias = normal.inv_cdf(below)
    centred = np.nanmean(jackknife) - jackknife[~np.isnan(jackknife)] if not np.isnan(jackknife).all() else np.zeros(1)
    squares = np.sum(centred**2)
    acceleration = np.sum(centred**3) / (6 * squares**1.5) if squares > 0 else 0.0
    shifted = [bias + normal.inv_cdf(tail) for tail in tails]
    return [normal.cdf(bias + shift / (1 - acceleration * shift)) for shift in shifted]


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
