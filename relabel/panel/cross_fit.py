"""Predictions of pairs by models that have not seen their queries, and the penalty that does best on unseen queries.

Queries, not pairs, are dealt into folds, since pairs of one query depend on each other. The penalty of each outer fold
is chosen inside its own training queries, so that cross-fitted measures are honest about that choice as well.
"""

from __future__ import annotations

import numpy as np

from relabel.panel.ordinal import OrdinalModel, fit_ordinal, log_loss

#: Penalties that are tried, strongest first; of equally good ones the strongest is taken.
PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)
INNER_FOLDS = 5


def deal(query: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row [rows], 0 … folds − 1: queries are shuffled by `seed` and dealt out one by one."""
    names, index = np.unique(query, return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names)) % min(folds, len(names))
    return place[index]


def choose_penalty(features: np.ndarray, classes: np.ndarray, query: np.ndarray, grades: int, seed: int) -> float:
    """The penalty of `PENALTIES` with the least mean log-loss over rows of queries that were left out."""
    fold = deal(query, INNER_FOLDS, seed)
    losses = np.zeros(len(PENALTIES))
    for held in np.unique(fold):
        out = fold == held
        for place, l2 in enumerate(PENALTIES):
            model = fit_ordinal(features[~out], classes[~out], grades, l2)
            losses[place] += log_loss(model.logprobs(features[out]), classes[out]).sum()
    return PENALTIES[int(losses.argmin())]


def fitted(
    features: np.ndarray, classes: np.ndarray, query: np.ndarray, grades: int, l2: float | None, seed: int
) -> tuple[OrdinalModel, float]:
    """The model of all rows and its penalty: `l2`, or where that is None the one that cross-validation chooses."""
    chosen = choose_penalty(features, classes, query, grades, seed) if l2 is None else l2
    return fit_ordinal(features, classes, grades, chosen), chosen


def cross_fitted(
    features: np.ndarray,
    classes: np.ndarray,
    query: np.ndarray,
    grades: int,
    folds: int,
    l2: float | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Log-probabilities of the grades [rows, grades], each row's from a model fitted without its fold's queries.

    Args:
        features: [rows, features].
        classes: index of each row's true grade [rows].
        query: the query of each row [rows]; equal values are never on both sides.
        grades: how many grades there are.
        folds: at least 2; fewer where there are fewer queries.
        l2: None: chosen in each fold by `choose_penalty`.
        seed: of the deals.
    """
    fold = deal(query, folds, seed)
    found = np.zeros((len(classes), grades))
    for held in np.unique(fold):
        out = fold == held
        model, _ = fitted(features[~out], classes[~out], query[~out], grades, l2, seed + 1)
        found[out] = model.logprobs(features[out])
    return found
