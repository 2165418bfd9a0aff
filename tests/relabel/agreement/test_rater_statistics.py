"""Statistics of two raters against public implementations, and their intervals against simulated populations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from relabel.agreement import rater_statistics as rater
from relabel.evidence.significance import bootstrap, pooled_difference_p

ALL = np.ones((1, 1))
QUERIES, PAIRS = 40, 10


def one_query(values) -> np.ndarray:
    return np.zeros(len(values), int)


@pytest.mark.parametrize("answers", [4, 3, 2])
def test_alpha_agrees_with_the_krippendorff_package(answers):
    """α with the ordinal metric equals the package's, also where a rater leaves grades out."""
    krippendorff = pytest.importorskip("krippendorff")
    random = np.random.default_rng(answers)
    truth = random.choice(4, 300, p=[0.6, 0.2, 0.15, 0.05])
    answer = np.clip(truth + random.integers(-1, 2, 300), 0, answers - 1)
    confusion = rater.confusion_by_query(truth, answer, one_query(truth), 1, 4)
    theirs = krippendorff.alpha(np.stack([truth, answer]), level_of_measurement="ordinal")
    assert rater.krippendorff_alpha(confusion)(ALL)[0] == pytest.approx(theirs)


def test_alpha_weighs_queries():
    """A query drawn twice counts like two copies of its pairs."""
    random = np.random.default_rng(3)
    truth, answer, query = random.integers(0, 4, 60), random.integers(0, 4, 60), np.repeat([0, 1], 30)
    confusion = rater.confusion_by_query(truth, answer, query, 2, 4)
    copied = [np.r_[values, values[30:]] for values in (truth, answer)]
    twice = rater.krippendorff_alpha(rater.confusion_by_query(*copied, one_query(copied[0]), 1, 4))(ALL)
    assert rater.krippendorff_alpha(confusion)(np.array([[1.0, 2.0]])) == pytest.approx(twice)


def test_alpha_of_a_single_class_is_undefined():
    """Where both raters give every pair one grade, there is nothing to agree on beyond chance."""
    confusion = rater.confusion_by_query(np.zeros(5, int), np.zeros(5, int), np.zeros(5, int), 1, 4)
    assert np.isnan(rater.krippendorff_alpha(confusion)(ALL)[0])


@pytest.mark.parametrize("levels", [4, 10_000], ids=["few levels", "many levels"])
def test_auc_agrees_with_scikit_learn(levels):
    """The AUC equals scikit-learn's for grades and for fine scores, also with queries drawn several times."""
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(levels)
    positive, query = random.random(400) < 0.2, random.integers(0, 8, 400)
    scores = np.floor((random.random(400) + 0.3 * positive) * levels)
    weights = random.integers(0, 4, (5, 8)).astype(float)
    ours = rater.auc(scores, positive, query)(weights)
    theirs = [metrics.roc_auc_score(positive, scores, sample_weight=row[query]) for row in weights]
    assert ours == pytest.approx(theirs)


def test_kendall_agrees_with_scipy():
    """τ-b inside a query equals scipy's, ties on both sides included."""
    random = np.random.default_rng(0)
    scores, grades, query = random.integers(0, 6, 90), random.integers(0, 4, 90), np.repeat([0, 1, 2], 30)
    theirs = [kendalltau(scores[query == index], grades[query == index]).statistic for index in range(3)]
    assert rater.kendall_by_query(scores, grades, query, 3) == pytest.approx(theirs)


def clustered(random: np.random.Generator, queries: int, pairs: int):
    """Scores, relevance and queries where a query's ease raises both the scores and the share of relevant documents."""
    query = np.repeat(np.arange(queries), pairs)
    ease = random.normal(size=queries)[query]
    positive = random.random(len(query)) < 1 / (1 + np.exp(1.2 - 1.5 * ease))
    return random.normal(size=len(query)) + 0.5 * positive + ease, positive, query


def test_the_interval_of_a_pooled_auc_covers_what_it_promises():
    """Of 150 nominal 95 % intervals over 40 queries, 90 to 99 % hold the population's AUC; over pairs far fewer do.

    The population's AUC compares documents of different queries; it comes from 400,000 queries of one document.
    """
    population = rater.auc(*clustered(np.random.default_rng(1), 400_000, 1)[:2], np.zeros(400_000, int))(ALL)[0]
    random = np.random.default_rng(2)
    covered = {"queries": 0, "pairs": 0}
    for seed in range(150):
        scores, positive, query = clustered(random, QUERIES, PAIRS)
        for unit, index in (("queries", query), ("pairs", np.arange(len(query)))):
            interval = bootstrap(rater.auc(scores, positive, index), index.max() + 1, 200, 0.95, seed)
            covered[unit] += interval.low <= population <= interval.high
    assert 0.90 <= covered["queries"] / 150 <= 0.99
    assert covered["pairs"] / 150 < 0.90


def test_the_test_of_a_pooled_difference_keeps_its_level_and_has_power():
    """Two equal judges differ at p < 0.05 in 1 to 9 % of 200 samples; a clearly better one in most of 30."""
    random = np.random.default_rng(3)

    def p_value(better: float, seed: int) -> float:
        scores, positive, query = clustered(random, QUERIES, PAIRS)
        other = scores + random.normal(size=len(scores))
        scores = scores + random.normal(size=len(scores)) + better * positive
        one, two = (rater.auc(np.round(values), positive, query) for values in (scores, other))
        return pooled_difference_p(lambda weights: one(weights) - two(weights), QUERIES, 1000, seed)

    assert 0.01 <= np.mean([p_value(0.0, seed) < 0.05 for seed in range(200)]) <= 0.09
    assert np.mean([p_value(1.5, seed) < 0.05 for seed in range(30)]) > 0.8


def test_a_pooled_difference_that_is_nothing_is_no_evidence():
    """A judge against itself, and a single query, give p = 1."""
    assert pooled_difference_p(lambda weights: weights @ np.zeros(5), 5) == 1.0
    assert pooled_difference_p(lambda weights: weights @ np.ones(1), 1) == 1.0
