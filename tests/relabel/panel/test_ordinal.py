"""Proportional odds: gradient, scikit-learn's logistic regression for two grades, recovery of what was simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit

from relabel.calibration.median import median_class
from relabel.panel.ordinal import OrdinalModel, _objective, fit_ordinal, log_loss


def simulated(thresholds, weights, rows: int, seed: int = 0):
    """Standard normal features and grades drawn from the model."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, len(weights)))
    chance = expit(np.array(thresholds) + (features @ np.array(weights))[:, None])
    return features, np.sum(random.random((rows, 1)) < chance, axis=1)


def test_the_gradient_is_that_of_the_objective():
    """The analytic gradient equals finite differences at several points."""
    features, classes = simulated([1.0, -0.5, -2.0], [1.0, -0.7], 200)
    random = np.random.default_rng(2)
    for _ in range(3):
        at = random.normal(size=5)
        wrong = check_grad(
            lambda x: _objective(x, features, classes, 4, 0.1)[0],
            lambda x: _objective(x, features, classes, 4, 0.1)[1],
            at,
        )
        assert wrong < 1e-5


def test_probabilities_are_differences_of_cumulative_ones():
    """P(grade = k) = P(grade ≥ k) − P(grade ≥ k + 1), also where both are nearly 0 or 1."""
    model = OrdinalModel(np.array([1.0, -0.5, -2.0]), np.array([2.0]))
    features = np.array([[-20.0], [-1.0], [0.3], [20.0]])
    at_least = np.hstack([np.ones((4, 1)), expit(model.thresholds + 2 * features), np.zeros((4, 1))])
    np.testing.assert_allclose(model.probabilities(features), at_least[:, :-1] - at_least[:, 1:], atol=1e-12)
    assert np.isfinite(model.logprobs(features)).all()


@pytest.mark.parametrize("l2", [1e-3, 0.3])
def test_two_grades_are_scikit_learns_logistic_regression(l2):
    """Weights, intercept and probabilities equal LogisticRegression's on the standardised features."""
    linear = pytest.importorskip("sklearn.linear_model")
    features, classes = simulated([-0.8], [1.0, 0.0, -2.0], 500)
    features = features * [1.0, 5.0, 0.2] + 3
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs = linear.LogisticRegression(C=1 / (l2 * len(classes)), tol=1e-10, max_iter=10_000).fit(scaled, classes)
    own = fit_ordinal(features, classes, 2, l2)
    np.testing.assert_allclose(own.weights * features.std(axis=0), theirs.coef_[0], atol=1e-3)
    np.testing.assert_allclose(own.probabilities(features), theirs.predict_proba(scaled), atol=1e-3)


def test_parameters_are_recovered_from_simulated_grades():
    """20,000 grades drawn from the model give its thresholds and weights back within four standard errors or so."""
    thresholds, weights = [0.7, -0.6, -2.0], [1.2, -0.5, 0.0]
    model = fit_ordinal(*simulated(thresholds, weights, 20_000), 4, 0.0)
    np.testing.assert_allclose(model.thresholds, thresholds, atol=0.1)
    np.testing.assert_allclose(model.weights, weights, atol=0.08)


def test_no_nearby_model_is_likelier():
    """Without a penalty, moving any parameter of the fitted model a little makes the grades less likely."""
    features, classes = simulated([0.7, -0.6, -2.0], [1.2, -0.5], 400)
    model = fit_ordinal(features, classes, 4, 0.0)
    best = log_loss(model.logprobs(features), classes).mean()
    for step in (-0.02, 0.02):
        for place in range(3):
            moved = OrdinalModel(model.thresholds + step * (np.arange(3) == place), model.weights)
            assert log_loss(moved.logprobs(features), classes).mean() > best
        for place in range(2):
            moved = OrdinalModel(model.thresholds, model.weights + step * (np.arange(2) == place))
            assert log_loss(moved.logprobs(features), classes).mean() > best


def test_a_constant_feature_gets_no_weight_and_an_unseen_grade_little_chance():
    """Neither stops the fit: the weight is exactly 0, the missing grade's probability below 1 %."""
    features, classes = simulated([0.5, -0.5], [1.0], 300)
    classes = np.where(classes == 2, 3, classes)  # grade 2 of four never occurs
    model = fit_ordinal(np.hstack([features, np.full((300, 1), 7.0)]), classes, 4, 0.01)
    assert model.weights[1] == 0
    assert model.probabilities(np.array([[0.0, 7.0]]))[0, 2] < 0.01


def test_the_median_grade_has_the_least_expected_distance():
    """Of random distributions the median class is the one with the least expected absolute difference."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4) / 2, 200)
    distance = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    np.testing.assert_array_equal(median_class(probabilities), (probabilities @ distance).argmin(axis=1))
