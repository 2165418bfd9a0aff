"""Exact tests of a mean loss: not too often wrong at the limit, and equal to public implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from relabel.promises.risk_control import (
    best_stake,
    betting_p_value,
    binomial_p_value,
    fixed_sequence,
    growth_rate,
)


def test_without_any_loss_a_full_stake_is_clopper_pearson():
    """n units without loss: the p-value of the largest possible stake is (1 − limit)^n, as for Clopper–Pearson."""
    assert betting_p_value(np.zeros(22), 0.1, 1 / 0.9) == pytest.approx(0.9**22)
    assert betting_p_value(np.zeros(22), 0.1, 1 / 0.9) == pytest.approx(binomial_p_value(0, 22, 0.1))


@pytest.mark.parametrize(("wrong", "of"), [(0, 30), (2, 80), (9, 90), (30, 100)])
def test_the_binomial_test_is_that_of_scipy(wrong, of):
    """The p-value is scipy's one-sided exact test, and below δ where its Clopper–Pearson bound is below the limit."""
    theirs = binomtest(wrong, of, 0.1, alternative="less")
    assert binomial_p_value(wrong, of, 0.1) == pytest.approx(theirs.pvalue)
    bound = theirs.proportion_ci(0.9, method="exact").high
    assert (binomial_p_value(wrong, of, 0.1) <= 0.1) == (bound <= 0.1)


@pytest.mark.parametrize("spread", [0.5, 5.0, 200.0])
@pytest.mark.parametrize("stake", [0.2, 0.7, 1.0])
def test_betting_is_wrong_no_more_often_than_it_says(spread, stake):
    """With losses whose mean is exactly the limit, p ≤ 0.1 comes in at most 10 % of 4,000 samples, for any spread."""
    random = np.random.default_rng(int(10 * spread + 100 * stake))
    losses = random.beta(0.1 * spread, 0.9 * spread, (4000, 40))
    wrong = np.mean([betting_p_value(sample, 0.1, stake) <= 0.1 for sample in losses])
    assert wrong <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 4000)


def test_betting_finds_a_mean_below_the_limit():
    """Losses around 0.04 that vary little are told from 0.1 with 60 units nearly always."""
    random = np.random.default_rng(1)
    samples = random.beta(2, 48, (200, 60))
    stake = best_stake(random.beta(2, 48, 30), 0.1)
    assert np.mean([betting_p_value(sample, 0.1, stake) <= 0.1 for sample in samples]) > 0.95


def test_the_stake_is_nothing_where_losses_are_too_high_and_bold_where_there_are_none():
    """A pilot at or above the limit stakes 0, so p is 1; one without losses stakes nine tenths of what may be."""
    assert best_stake(np.full(20, 0.3), 0.1) == 0
    assert betting_p_value(np.zeros(100), 0.1, best_stake(np.full(20, 0.3), 0.1)) == 1.0
    assert best_stake(np.zeros(20), 0.1) == pytest.approx(1.0)
    assert best_stake(np.zeros(0), 0.1) == 0


def test_the_growth_rate_tells_how_many_units_are_needed():
    """ln(1/p) of many units is their number times the rate."""
    losses = np.tile([0.0, 0.1, 0.05], 40)
    assert -np.log(betting_p_value(losses, 0.1, 0.8)) == pytest.approx(120 * growth_rate(losses, 0.1, 0.8))
    assert np.isnan(growth_rate(np.zeros(0), 0.1, 0.8))


def test_a_sequence_ends_at_the_first_that_is_not_rejected():
    """What comes after a p-value above the level is not looked at, nor computed."""

    def p_values():
        yield from (0.01, 0.1, 0.2)
        raise AssertionError("a test after the end of the sequence")

    assert fixed_sequence(p_values(), 0.1) == 2
    assert fixed_sequence([0.5, 0.0], 0.1) == 0
    assert fixed_sequence([float("nan"), 0.0], 0.1) == 0
    assert fixed_sequence([0.0, 0.1], 0.1) == 2
