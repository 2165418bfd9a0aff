"""Cross-fitting by query: no query on both sides, the penalty chosen inside, calibrated on unseen queries."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from relabel.panel.cross_fit import PENALTIES, choose_penalty, cross_fitted, deal
from relabel.panel.ordinal import fit_ordinal, log_loss


def simulated(queries: int, rows: int, noise: int, seed: int = 0):
    """One telling feature, `noise` features without meaning, three grades."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(queries * rows, 1 + noise))
    chance = expit(np.array([0.5, -1.0]) + 1.5 * features[:, :1])
    return features, np.sum(random.random((len(features), 1)) < chance, axis=1), np.repeat(np.arange(queries), rows)


def test_queries_are_dealt_evenly_and_never_split():
    """All rows of a query share a fold, folds differ by one query at most, and another seed deals otherwise."""
    query = np.repeat(np.arange(23), 4)
    fold = deal(query, 5, seed=1)
    assert all(len(set(fold[query == one])) == 1 for one in range(23))
    assert sorted(np.bincount(fold[::4])) == [4, 4, 5, 5, 5]
    assert not np.array_equal(fold, deal(query, 5, seed=2))


def test_a_prediction_does_not_depend_on_grades_of_its_own_query():
    """Turning a query's grades upside down leaves its own predictions as they were and moves those of others."""
    features, classes, query = simulated(12, 10, 1)
    before = cross_fitted(features, classes, query, 3, folds=4, l2=0.01)
    fold = deal(query, 4, seed=0)
    turned = np.where(fold == fold[0], 2 - classes, classes)
    after = cross_fitted(features, turned, query, 3, folds=4, l2=0.01)
    np.testing.assert_array_equal(before[fold == fold[0]], after[fold == fold[0]])
    assert np.abs(before - after)[fold != fold[0]].min(axis=1).max() > 0.01


def test_the_chosen_penalty_serves_new_queries():
    """Over ten samples of few rows and many features, the chosen penalty's mean log-loss on new queries is near that of
    the best fixed one and clearly below that of the worst."""
    fresh, truth, _ = simulated(100, 8, 15, seed=99)
    losses = {l2: [] for l2 in (*PENALTIES, "chosen")}
    for seed in range(10):
        features, classes, query = simulated(8, 8, 15, seed)
        for l2 in PENALTIES:
            losses[l2].append(log_loss(fit_ordinal(features, classes, 3, l2).logprobs(fresh), truth).mean())
        losses["chosen"].append(losses[choose_penalty(features, classes, query, 3, seed=0)][-1])
    chosen = np.mean(losses.pop("chosen"))
    assert chosen <= min(map(np.mean, losses.values())) + 0.03
    assert chosen <= max(map(np.mean, losses.values())) - 0.1


def test_cross_fitted_probabilities_are_calibrated():
    """Over 4,000 pairs the mean probability of each grade is its share, within three points, in each third by score."""
    features, classes, query = simulated(200, 20, 1)
    found = np.exp(cross_fitted(features, classes, query, 3, folds=10))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    order = np.argsort(found @ np.arange(3))
    for third in np.array_split(order, 3):
        share = np.bincount(classes[third], minlength=3) / len(third)
        np.testing.assert_allclose(found[third].mean(axis=0), share, atol=0.03)
