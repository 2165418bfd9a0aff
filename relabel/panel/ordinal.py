"""Proportional-odds regression: P(grade ≥ k | x) = σ(θ_k + w · x), one weight a feature, one threshold a grade.

Source: P. McCullagh, "Regression models for ordinal data", JRSS B 42 (1980). No package that this project keeps has
it; two grades are the logistic regression of scikit-learn, against which it is tested. Pure numpy and scipy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Where the optimiser stops; the objective is a mean of log-losses.
PRECISION = {"maxiter": 500, "ftol": 1e-11, "gtol": 1e-7}


@dataclass(frozen=True)
class OrdinalModel:
    """Fitted thresholds θ_1 > … > θ_{G−1} [grades − 1] and weights w [features] for features as they come in."""

    thresholds: np.ndarray
    weights: np.ndarray

    def logprobs(self, features: np.ndarray) -> np.ndarray:
        """Log-probabilities of the grades, lowest first, [rows, grades]."""
        return _logprobs(features @ self.weights, self.thresholds)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities of the grades, [rows, grades]; rows sum to 1."""
        found = np.exp(self.logprobs(features))
        return found / found.sum(axis=1, keepdims=True)


def fit_ordinal(features: np.ndarray, classes: np.ndarray, grades: int, l2: float) -> OrdinalModel:
    """The model of greatest penalised likelihood: mean log-loss + l2 / 2 · Σ w², w in units of standard deviations.

    Args:
        features: [rows, features]; standardised inside, a constant one gets weight 0.
        classes: index of each row's grade [rows], 0 … grades − 1; a grade that no row has gets a probability near 0.
        grades: how many there are.
        l2: strength of the penalty; thresholds are not penalised.
    """
    from scipy.optimize import minimize  # seconds to import, which a judge's actors need not spend

    centre, spread = features.mean(axis=0), features.std(axis=0)
    moving = spread > 1e-9
    scaled = np.where(moving, (features - centre) / np.where(moving, spread, 1.0), 0.0)
    at_least = np.array([np.sum(classes >= grade) for grade in range(1, grades)], float)
    first = np.log((at_least + 0.5) / (len(classes) - at_least + 0.5))
    gaps = np.log(np.maximum(-np.diff(first), 1e-3))
    start = np.concatenate([first[:1], gaps, np.zeros(features.shape[1])])
    found = minimize(_objective, start, (scaled, classes, grades, l2), "L-BFGS-B", jac=True, options=PRECISION)
    thresholds, weights = _unpacked(found.x, grades)
    weights = np.where(moving, weights / np.where(moving, spread, 1.0), 0.0)
    return OrdinalModel(thresholds - centre @ weights, weights)


def log_loss(logprobs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """−log P(true grade) of each row [rows], in nats."""
    return -logprobs[np.arange(len(classes)), classes]


def _unpacked(values: np.ndarray, grades: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds, falling by exp of what is stored so that any values are in order, and weights."""
    gaps = np.exp(np.clip(values[1 : grades - 1], -15, 15))
    return values[0] - np.concatenate([[0.0], np.cumsum(gaps)]), values[grades - 1 :]


def _log_expit(values: np.ndarray) -> np.ndarray:
    """log σ(x). Scipy's takes longer to import than a judge's actors need for all else that is ours."""
    return -np.logaddexp(0, -values)


def _logprobs(eta: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − e^{b−a}) with a = θ_k + η, b = θ_{k+1} + η: no difference of
    near-equal numbers."""
    above = eta[:, None] + thresholds  # [rows, grades − 1]
    zero = np.zeros((len(eta), 1))
    between = np.log(-np.expm1(np.diff(thresholds)))
    return (
        np.hstack([zero, _log_expit(above)])
        + np.hstack([_log_expit(-above), zero])
        + np.concatenate([[0.0], between, [0.0]])
    )


def _objective(values: np.ndarray, features: np.ndarray, classes: np.ndarray, grades: int, l2: float):
    """Penalised mean log-loss and its gradient in the stored parameters.

    A row of grade k has log P = log σ(a) + log σ(−b) + log(1 − e^{b−a}); a = ∞ for the lowest, b = −∞ for the highest.
    """
    thresholds, weights = _unpacked(values, grades)
    eta, rows = features @ weights, len(classes)
    upper = eta + np.concatenate([[np.inf], thresholds])[classes]
    lower = eta + np.concatenate([thresholds, [-np.inf]])[classes]
    gap = -np.diff(thresholds)
    middle = np.bincount(classes, minlength=grades)[1:-1] / rows
    likelihood = np.mean(_log_expit(upper) + _log_expit(-lower)) + middle @ np.log(-np.expm1(-gap))
    pull, push = np.exp(_log_expit(-upper)), np.exp(_log_expit(lower))  # d log P / da and −d log P / db
    by_threshold = np.bincount(classes, pull, grades)[1:] - np.bincount(classes, push, grades)[:-1]
    later = np.cumsum(by_threshold[::-1])[::-1][1:] / rows  # every later threshold moves with a gap
    by_gap = (middle / np.expm1(gap) - later) * gap
    by_weight = features.T @ (pull - push) / rows - l2 * weights
    gradient = np.concatenate([[by_threshold.sum() / rows], by_gap, by_weight])
    return l2 / 2 * weights @ weights - likelihood, -gradient
