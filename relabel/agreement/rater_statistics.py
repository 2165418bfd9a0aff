"""Statistics of one rater's grades and scores against another's, as functions of query weights.

Each function returns a `Statistic` (see `significance`): from weights [m, queries] to values [m], so that the
bootstrap over queries, the jackknife and the point value share one formula. Rows are pairs; `query` [rows] is the
index of each row's query. Pure numpy.
"""

from __future__ import annotations

import numpy as np

from relabel.evidence.significance import Statistic, ratio

#: Cells of the weight-by-row matrix that are held at once (8 bytes each).
BLOCK_CELLS = 4_000_000


def per_query_sums(columns: np.ndarray, query: np.ndarray, queries: int) -> np.ndarray:
    """Sums of `columns` [rows, …] by query [queries, …]."""
    sums = np.zeros((queries, *columns.shape[1:]))
    np.add.at(sums, query, columns)
    return sums


def row_mean(values: np.ndarray, query: np.ndarray, queries: int) -> Statistic:
    """The mean over rows of `values` [rows]."""
    sums = per_query_sums(np.column_stack([values, np.ones(len(values))]).astype(float), query, queries)
    return lambda weights: ratio(weights @ sums[:, 0], weights @ sums[:, 1])


def auc(scores: np.ndarray, positive: np.ndarray, query: np.ndarray) -> Statistic:
    """Area under the ROC curve over all rows pooled: P(score of a positive > score of a negative) + P(equal) / 2.

    NaN where one class is missing. Source: Hanley and McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve", Radiology 143 (1982); ties count one half.
    """
    levels, level = np.unique(scores, return_inverse=True)
    queries = int(query.max(initial=0)) + 1
    if len(levels) * queries <= len(scores):
        counts = np.zeros((queries, 2, len(levels)))
        np.add.at(counts, (query, positive.astype(int), level), 1)
        return _auc_of_levels(counts)
    order = np.argsort(scores, kind="stable")
    query, positive = query[order], positive[order].astype(float)
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    rows_at_once = max(1, BLOCK_CELLS // max(len(scores), 1))

    def block(weights: np.ndarray) -> np.ndarray:
        spread = weights[:, query]
        good = np.add.reduceat(spread * positive, starts, axis=1)
        bad = np.add.reduceat(spread, starts, axis=1) - good
        below = np.cumsum(bad, axis=1) - bad / 2
        return ratio(np.sum(good * below, axis=1), good.sum(axis=1) * bad.sum(axis=1))

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.concatenate([block(weights[i : i + rows_at_once]) for i in range(0, len(weights), rows_at_once)])

    return statistic


def _auc_of_levels(counts: np.ndarray) -> Statistic:
    """`auc` from counts [queries, negative and positive, levels] of few score levels, ascending."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        drawn = np.tensordot(weights[:, : len(counts)], counts, axes=1)
        bad, good = drawn[:, 0], drawn[:, 1]
        below = np.cumsum(bad, axis=1) - bad / 2
        return ratio(np.sum(good * below, axis=1), good.sum(axis=1) * bad.sum(axis=1))

    return statistic


def auc_by_query(scores: np.ndarray, positive: np.ndarray, query: np.ndarray, queries: int) -> np.ndarray:
    """`auc` inside each query [queries]; NaN for queries without both classes."""
    values = np.full(queries, np.nan)
    one = np.ones((1, 1))
    for index in range(queries):
        rows = query == index
        if rows.any():
            values[index] = auc(scores[rows], positive[rows], np.zeros(rows.sum(), int))(one)[0]
    return values


def kendall_by_query(scores: np.ndarray, grades: np.ndarray, query: np.ndarray, queries: int) -> np.ndarray:
    """Kendall's τ-b of scores and grades inside each query [queries].

    NaN where the grades are all equal (nothing to order); 0 where only the scores are (nothing was ordered).
    Source: M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    from scipy.stats import kendalltau  # seconds to import, which a judge's actors need not spend

    values = np.full(queries, np.nan)
    for index in range(queries):
        rows = query == index
        if len(np.unique(grades[rows])) > 1:
            values[index] = np.nan_to_num(kendalltau(scores[rows], grades[rows]).statistic)
    return values


def confusion_by_query(truth: np.ndarray, answer: np.ndarray, query: np.ndarray, queries: int, size: int) -> np.ndarray:
    """Counts [queries, size, size]: rows are the true classes, columns the answered ones (both as indices)."""
    counts = np.zeros((queries, size, size))
    np.add.at(counts, (query, truth, answer), 1)
    return counts


def accuracy(confusion: np.ndarray) -> Statistic:
    """Share of rows on the diagonal of `confusion` [queries, size, size]."""
    flat = confusion.reshape(len(confusion), -1)
    diagonal = np.eye(confusion.shape[1]).ravel()
    return lambda weights: ratio(weights @ (flat @ diagonal), weights @ flat.sum(axis=1))


def kappa(confusion: np.ndarray, power: int) -> Statistic:
    """Cohen's κ of `confusion` [queries, size, size]; NaN where both raters always give one and the same class.

    Args:
        power: 0 unweighted; 1 linear and 2 quadratic disagreement weights |i − j|^power.

    Source: J. Cohen, Educ. Psychol. Meas. 20 (1960); weighted: Psychol. Bull. 70 (1968).
    """
    size = confusion.shape[1]
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float)
    cost = (distance > 0).astype(float) if power == 0 else distance**power

    def statistic(weights: np.ndarray) -> np.ndarray:
        table = np.tensordot(weights, confusion, axes=1)
        expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
        observed_cost = np.sum(cost * table, axis=(1, 2))
        return 1 - ratio(observed_cost * table.sum(axis=(1, 2)), np.sum(cost * expected, axis=(1, 2)))

    return statistic


def krippendorff_alpha(confusion: np.ndarray) -> Statistic:
    """Krippendorff's α of two raters with the ordinal metric, from `confusion` [queries, size, size].

    Unlike κ it asks what one common distribution of grades would give by chance, so that raters who use the grades
    differently lose by it. NaN where only one class occurs.

    Source: K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), sections C and the ordinal metric:
    δ²(c, k) = (Σ n_g for g from c to k − (n_c + n_k) / 2)², where n_g counts the grade g of both raters.
    """

    def statistic(weights: np.ndarray) -> np.ndarray:
        table = np.tensordot(weights, confusion, axes=1)
        coincidences = table + table.transpose(0, 2, 1)
        counts = coincidences.sum(axis=2)
        middle = np.cumsum(counts, axis=1) - counts / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
        expected = np.sum(counts[:, :, None] * counts[:, None, :] * distance, axis=(1, 2))
        observed = np.sum(coincidences * distance, axis=(1, 2))
        return 1 - ratio(observed * (counts.sum(axis=1) - 1), expected)

    return statistic


def calibration_bins(probability: np.ndarray, truth: np.ndarray, query: np.ndarray, queries: int, bins: int = 10):
    """Sums [queries, bins, 3] of rows, probability and truth in equal-width bins of `probability` [rows] in [0, 1]."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    sums = np.zeros((queries, bins, 3))
    np.add.at(sums, (query, place), np.column_stack([np.ones(len(place)), probability, truth]))
    return sums


def calibration_error(sums: np.ndarray) -> Statistic:
    """Expected calibration error of `calibration_bins`: mean over rows of |mean probability − share true| of their bin.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = np.tensordot(weights, sums, axes=1)
        return ratio(np.abs(total[:, :, 1] - total[:, :, 2]).sum(axis=1), total[:, :, 0].sum(axis=1))

    return statistic
