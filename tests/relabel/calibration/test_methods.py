"""Calibration methods: each undoes what it can express, gives distributions, and agrees with public implementations."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.calibration import METHODS
from relabel.calibration.isotonic import Curve, Isotonic
from relabel.calibration.method import log_loss, log_normalised
from relabel.calibration.temperature import Temperature
from relabel.calibration.temperature_bias import TemperatureBias
from relabel.errors import ConfigError
from tests.relabel.calibration.cases import simulate


def test_log_loss_agrees_with_scikit_learn():
    """The mean log-loss is scikit-learn's."""
    from sklearn.metrics import log_loss as theirs

    logprobs, truth, _ = simulate(10, 20, seed=0)
    assert log_loss(np.exp(logprobs), truth).mean() == pytest.approx(theirs(truth, np.exp(logprobs), labels=range(4)))


def test_a_temperature_is_found():
    """A judge that overstates everything threefold gets a temperature of 3."""
    logprobs, truth, _ = simulate(200, 30, seed=1, sharpness=3.0)
    assert Temperature.fit(logprobs, truth).temperature == pytest.approx(3.0, rel=0.08)


def test_shifts_of_a_balanced_judge_are_found():
    """Sharpness and shifts of a distorted judge come back, up to a constant."""
    biases = np.array([-1.0, 0.0, 0.5, 0.5])
    logprobs, truth, _ = simulate(200, 30, seed=2, sharpness=2.0, biases=biases)
    found = TemperatureBias.fit(logprobs, truth)
    assert found.sharpness == pytest.approx(0.5, rel=0.08)
    assert np.array(found.biases) == pytest.approx(-biases / 2, abs=0.12)


def test_temperature_and_shifts_agree_with_scikit_learn():
    """For two classes it is logistic regression on the log-odds, as scikit-learn fits it without a penalty."""
    from sklearn.linear_model import LogisticRegression

    logprobs, truth, _ = simulate(60, 30, seed=3, sharpness=2.0)
    two = log_normalised(np.stack([np.logaddexp(*logprobs[:, :2].T), np.logaddexp(*logprobs[:, 2:].T)], axis=1))
    odds = (two[:, 1] - two[:, 0])[:, None]
    theirs = LogisticRegression(C=np.inf).fit(odds, truth >= 2)
    ours = TemperatureBias.fit(two, (truth >= 2).astype(int))
    assert ours.sharpness == pytest.approx(theirs.coef_[0, 0], abs=0.01)
    assert ours.apply(two)[:, 1] == pytest.approx(theirs.predict_proba(odds)[:, 1], abs=0.005)


def test_isotonic_agrees_with_scikit_learn():
    """For two classes it is scikit-learn's isotonic regression, but for the share of the uniform distribution."""
    from sklearn.isotonic import IsotonicRegression

    random = np.random.default_rng(4)
    chance = random.random(500)
    truth = (random.random(500) < chance**2).astype(int)
    two = np.log(np.stack([1 - chance, chance], axis=1))
    found = Isotonic.fit(two, truth)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(chance, truth).predict(chance)
    assert found.uniform == pytest.approx(2 / 502)
    assert found.apply(two)[:, 1] == pytest.approx((1 - found.uniform) * theirs + found.uniform / 2, abs=1e-6)


def test_isotonic_curves_that_cross_become_a_distribution():
    """P(grade ≥ 2) is cut to P(grade ≥ 1) where its curve lies above."""
    low, high = Curve(raw=[0.0, 1.0], calibrated=[0.2, 0.2]), Curve(raw=[0.0, 1.0], calibrated=[0.6, 0.6])
    found = Isotonic(curves=[low, high], uniform=0.0).apply(np.log(np.full((1, 3), 1 / 3)))
    assert found[0] == pytest.approx([0.8, 0.0, 0.2])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_distributions_also_of_certain_judges(name):
    """Rows sum to 1, nothing is negative or NaN, with zero probabilities among the inputs and a grade nobody gave."""
    logprobs, truth, _ = simulate(30, 10, seed=5)
    logprobs[::7] = [-np.inf, 0.0, -np.inf, -np.inf]
    method = METHODS[name].fit(logprobs, np.minimum(truth, 2))
    found = method.apply(logprobs)
    assert found.shape == logprobs.shape
    assert np.all(found >= 0)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(found)))
    assert method.fits(4)
    if name != "none":
        assert np.isfinite(log_loss(found, np.full(len(found), 3))).all()


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("temperature", {"temperature": 0}, "greater than or equal to 0.01"),
        ("temperature", {"temperature": float("nan")}, "greater than or equal to|finite"),
        ("temperature-bias", {"sharpness": -1, "biases": [0, 0]}, "greater than or equal to 0"),
        ("temperature-bias", {"sharpness": 1, "biases": [0, float("inf")]}, "less than or equal to|finite"),
        ("isotonic", {"curves": [{"raw": [0.5, 0.5], "calibrated": [0, 1]}], "uniform": 0}, "rise strictly"),
        ("isotonic", {"curves": [{"raw": [0.1, 0.5], "calibrated": [1, 0]}], "uniform": 0}, "never fall"),
        ("isotonic", {"curves": [{"raw": [0.1], "calibrated": [0, 1]}], "uniform": 0}, "as many calibrated"),
        ("isotonic", {"curves": [], "uniform": 0}, "at least 1 item"),
    ],
)
def test_parameters_that_are_no_calibration_are_refused(name, parameters, words):
    """Sizes, order, range and finiteness of parameters are checked, since they come from a file."""
    with pytest.raises(ConfigError, match=words):
        METHODS[name].load(parameters, "calibration.json")
