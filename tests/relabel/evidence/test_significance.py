"""Intervals, paired tests and Holm's correction against known answers, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.evidence.significance import (
    bootstrap,
    holm,
    mean_interval,
    mean_statistic,
    paired_randomisation,
    query_draws,
    standardised_difference,
)


def test_holm_known_answer():
    """Holm's step-down values of a worked example, in the order of the input, monotone and at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def test_exact_randomisation_known_answer():
    """Three equal differences: only all-plus and all-minus of the 8 sign assignments are as extreme, p = 2/8."""
    assert paired_randomisation([1.0, 1.0, 1.0]) == pytest.approx(0.25)


def test_randomisation_ignores_zero_differences_and_needs_some():
    """Zero differences carry no sign; with nothing else p is 1."""
    assert paired_randomisation([1.0, 1.0, 1.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert paired_randomisation([0.0, 0.0]) == 1.0
    assert paired_randomisation([]) == 1.0


def test_sampled_randomisation_agrees_with_exact():
    """The Monte-Carlo p-value is close to the exact one of the same 12 differences, and never 0."""
    differences = np.random.default_rng(3).normal(0.4, 1, 12)
    exact = paired_randomisation(differences, resamples=2**12)
    assert paired_randomisation(differences, resamples=2**12 - 1) == pytest.approx(exact, abs=0.03)
    assert paired_randomisation(np.full(60, 1.0), resamples=999) == pytest.approx(1 / 1000)


def test_randomisation_is_two_sided_and_seeded():
    """Swapping the systems does not change p, the same seed gives the same p."""
    differences = np.random.default_rng(0).normal(0.1, 1, 40)
    assert paired_randomisation(differences, seed=5) == paired_randomisation(-differences, seed=5)


def test_randomisation_keeps_its_level():
    """Without any effect about 5 % of the p-values fall below 0.05."""
    random = np.random.default_rng(11)
    rejected = [paired_randomisation(random.normal(size=25), resamples=500, seed=i) < 0.05 for i in range(400)]
    assert 0.02 <= np.mean(rejected) <= 0.085


def test_bca_covers_the_mean_of_a_skewed_distribution():
    """95 % BCa intervals of 40 skewed values contain the true mean in about 95 % of the simulations."""
    random = np.random.default_rng(7)
    covered = 0
    for run in range(300):
        interval = mean_interval(random.beta(0.5, 1.5, size=40), resamples=600, seed=run)
        covered += interval.low <= 0.25 <= interval.high
    assert 0.90 <= covered / 300 <= 0.985


def test_bca_agrees_with_scipy():
    """Our BCa interval of a mean equals scipy's up to the noise of resampling."""
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).beta(0.4, 1, size=50)
    ours = mean_interval(values, resamples=20_000, seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_interval_of_constant_values_is_a_point():
    """Values without spread have an interval of width 0, not NaN."""
    interval = mean_interval(np.full(10, 0.3))
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.3, 0.3, 0.3))


def test_one_query_has_no_interval():
    """A single query gives a value and an open interval, which JSON shows as null."""
    assert mean_interval(np.array([0.5])).to_json() == {"value": 0.5, "low": None, "high": None}


def test_undefined_queries_are_left_out_of_the_mean():
    """NaN values (a query where the statistic is undefined) neither count nor poison the mean."""
    statistic = mean_statistic(np.array([0.2, np.nan, 0.4]))
    assert statistic(np.array([[1, 1, 1], [0, 5, 0], [3, 0, 1.0]])) == pytest.approx([0.3, np.nan, 0.25], nan_ok=True)


def test_draws_keep_the_number_of_queries_and_the_seed():
    """Every resample draws as many queries as there are; the same seed draws the same."""
    draws = query_draws(13, 50, seed=4)
    assert (draws.sum(axis=1) == 13).all()
    assert (draws == query_draws(13, 50, seed=4)).all()


def test_bootstrap_of_a_ratio_resamples_queries_together():
    """A statistic over pairs is resampled by whole queries: with two equal queries its interval is a point."""
    hits, pairs = np.array([2.0, 2.0]), np.array([4.0, 4.0])
    interval = bootstrap(lambda weights: (weights @ hits) / (weights @ pairs), 2)
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_standardised_difference_known_answer():
    """Differences 1, 2, 3 have mean 2 and standard deviation 1."""
    assert standardised_difference([1, 2, 3]) == pytest.approx(2.0)
    assert np.isnan(standardised_difference([1, 1]))
