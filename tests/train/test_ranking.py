"""The small measures that choose a checkpoint: values by hand, ties, and agreement with public implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from train.ranking import auc, mean_ndcg, ndcg


def test_ndcg_by_hand():
    """nDCG divides the discounted gain of the ranking by that of the best ranking."""
    found = ndcg(np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.5]))
    expected = (1 / math.log2(3) + 0.5 / 2) / (1 + 0.5 / math.log2(3))
    assert found == pytest.approx(expected)


def test_ndcg_cuts_at_depth():
    """A relevant document below the depth gains nothing."""
    assert ndcg(np.array([2.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]), depth=2) == 0.0


def test_ndcg_ties_never_help():
    """Documents that score the same share the gain of their places: the mean over their orders."""
    tied = ndcg(np.zeros(2), np.array([1.0, 0.0]))
    assert tied == pytest.approx((1 + 1 / math.log2(3)) / 2)


def test_ndcg_equals_ir_measures():
    """Without ties nDCG@10 equals ir-measures' over many random rankings."""
    measures = pytest.importorskip("ir_measures")
    random = np.random.default_rng(0)
    for _ in range(20):
        scores, grades = random.permutation(30).astype(float), random.integers(0, 4, 30)
        names = [f"d{number}" for number in range(30)]
        qrels = {"q": dict(zip(names, grades.tolist(), strict=True))}
        run = {"q": dict(zip(names, scores.tolist(), strict=True))}
        expected = measures.calc_aggregate([measures.nDCG @ 10], qrels, run)[measures.nDCG @ 10]
        assert ndcg(scores, grades) == pytest.approx(expected, abs=1e-9)


def test_mean_ndcg_leaves_out_queries_without_relevant_documents():
    """The mean is over the queries that can be ranked well or badly at all."""
    ids = np.array(["a", "a", "b", "b"])
    assert mean_ndcg(ids, np.array([1.0, 0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])) == 1.0
    assert math.isnan(mean_ndcg(ids, np.zeros(4), np.zeros(4)))


def test_auc_equals_scikit_learn():
    """AUC with ties equals scikit-learn's."""
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    scores, positive = random.integers(0, 8, 200) / 8, random.random(200) < 0.3
    assert auc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_auc_of_one_class_is_unknown():
    """Without a positive or without a negative there is no AUC."""
    assert math.isnan(auc(np.array([0.1, 0.9]), np.array([True, True])))
