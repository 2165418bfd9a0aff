"""Small measures for choosing a checkpoint while training: nDCG@10 of rankings, AUC of grades.

Evidence for people comes from `relabel.evidence`; these figures only pick the best step.
"""

from __future__ import annotations

import numpy as np


def ndcg(scores: np.ndarray, labels: np.ndarray, depth: int = 10) -> float:
    """nDCG@depth of one query with linear gain; tied scores share the gain of their places, so ties never help.

    Args:
        scores: [documents], higher is better.
        labels: relevance degrees ≥ 0 [documents].

    Returns:
        A value in [0, 1]; NaN where no document has a positive degree.

    Source: Järvelin and Kekäläinen, TOIS 20(4), 2002; ties as in McSherry and Najork, ECIR 2008.
    """
    places = np.zeros(len(scores))
    places[:depth] = 1.0 / np.log2(np.arange(2, min(depth, len(scores)) + 2))
    ideal = float(np.sort(labels)[::-1] @ places)
    if ideal <= 0:
        return float("nan")
    _, tie = np.unique(-np.asarray(scores), return_inverse=True)
    order = np.argsort(tie, kind="stable")
    shared = np.bincount(tie, weights=labels) / np.bincount(tie)
    return float(shared[tie[order]] @ places) / ideal


def mean_ndcg(query_ids: np.ndarray, scores: np.ndarray, labels: np.ndarray, depth: int = 10) -> float:
    """Mean nDCG@depth over the queries that have a document of positive degree; NaN where there is none."""
    _, query = np.unique(query_ids, return_inverse=True)
    values = [ndcg(scores[query == one], labels[query == one], depth) for one in range(query.max(initial=-1) + 1)]
    values = [value for value in values if not np.isnan(value)]
    return float(np.mean(values)) if values else float("nan")


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative) + ½ P(equal); NaN with one class only."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
