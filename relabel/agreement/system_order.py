"""Whether a judge's grades put systems in the order that people's grades put them: Kendall's τ and rank-biased overlap.

Systems are ordered by mean nDCG@10 over queries, once with the people's grades as qrels and once with a judge's.
Statistics are functions of query weights, so that the bootstrap draws queries, as everywhere. Invariants: both orders
come from the same rankings, the same pairs and the same draws; documents with equal scores are ordered by a hash of
their ids, which knows no grade; documents outside the pairs count as not relevant in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import ir_measures
import numpy as np

from relabel.evidence.significance import bootstrap, ratio
from relabel.formats.label_files import Pair
from relabel.records import Scale

#: Depth of nDCG.
CUTOFF = 10
#: Below this many systems an order has too few pairs of systems to be measured.
FEW_SYSTEMS = 5

#: Scores by query and document.
Ranking = Mapping[str, Mapping[str, float]]


class SystemOrders(NamedTuple):
    """What systems are worth under each grader's qrels.

    Attributes:
        systems: names.
        judged: share of the documents in their top that people graded [systems].
        ndcg: grader → nDCG@10 [queries, systems].
    """

    systems: list[str]
    judged: list[float]
    ndcg: dict[str, np.ndarray]


def system_orders(
    rankings: Mapping[str, Ranking], graders: Mapping[str, tuple[Mapping[Pair, int], Scale]], query_ids: Sequence[str]
) -> SystemOrders:
    """nDCG@10 of every ranking under the grades of every grader, for these queries.

    Args:
        rankings: name of a system → its scores.
        graders: name → (grades of the same pairs for all graders, scale).
    """
    pairs = next(iter(graders.values()))[0]
    judged, values = [], {name: [] for name in graders}
    for ranking in rankings.values():
        top = strict_top(ranking, query_ids)
        shown = [(query_id, doc_id) for query_id, docs in top.items() for doc_id in docs]
        judged.append(sum(pair in pairs for pair in shown) / max(len(shown), 1))
        for name, (grades, scale) in graders.items():
            values[name].append(ndcg(top, grades, scale, query_ids))
    return SystemOrders(list(rankings), judged, {name: np.column_stack(columns) for name, columns in values.items()})


def strict_top(ranking: Ranking, query_ids: Sequence[str]) -> dict[str, list[str]]:
    """The first `CUTOFF` documents of each of these queries, best first; equal scores by a hash of the ids."""
    return {
        query_id: sorted(scores, key=lambda doc_id: (-scores[doc_id], _hash(query_id, doc_id)))[:CUTOFF]
        for query_id in query_ids
        if (scores := ranking.get(query_id))
    }


def ndcg(top: Mapping[str, Sequence[str]], grades: Mapping[Pair, int], scale: Scale, query_ids: Sequence[str]):
    """nDCG@10 [queries] of strict orders under a grader's qrels, linear gain from the scale's lowest grade.

    0 for a query that the system ranks nothing for, or for which the grader gave every document the lowest grade.
    """
    qrels: dict[str, dict[str, int]] = {query_id: {} for query_id in query_ids}
    for (query_id, doc_id), grade in grades.items():
        if query_id in qrels:
            qrels[query_id][doc_id] = grade - scale.grades[0]
    run = {
        query_id: {doc_id: float(-place) for place, doc_id in enumerate(docs)} for query_id, docs in top.items() if docs
    }
    values, place = np.zeros(len(query_ids)), {query_id: number for number, query_id in enumerate(query_ids)}
    for metric in ir_measures.iter_calc([ir_measures.nDCG @ CUTOFF], qrels, run):
        values[place[metric.query_id]] = metric.value
    return values


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's τ-b [m] of scores of systems [m, systems] by two graders; NaN where one finds all systems equal.

    Source: M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    left, right = np.triu_indices(first.shape[1], 1)
    one, other = (np.sign(scores[:, left] - scores[:, right]) for scores in (first, second))
    return ratio((one * other).sum(axis=1), np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1)))


def rank_biased_overlap(first: np.ndarray, second: np.ndarray, p: float) -> np.ndarray:
    """Extrapolated rank-biased overlap [m] of the orders that scores [m, systems] of two graders give.

    The agreement at depth d is 2·|S ∩ T| / (|S| + |T|), where tied systems all stand at the first rank of their tie;
    a reader goes on from one depth to the next with probability p.

    Source: W. Webber, A. Moffat and J. Zobel, "A similarity measure for indefinite rankings", ACM TOIS 28 (2010),
    equation 32 for the extrapolation, section 4 for ties.
    """
    ranks = [1 + np.sum(scores[:, None, :] > scores[:, :, None], axis=2) for scores in (first, second)]
    systems = first.shape[1]
    total = np.zeros(len(first))
    agreement = np.zeros(len(first))
    for depth in range(1, systems + 1):
        one, other = (rank <= depth for rank in ranks)
        agreement = 2 * np.sum(one & other, axis=1) / (one.sum(axis=1) + other.sum(axis=1))
        total += agreement * p**depth
    return agreement * p**systems + (1 - p) / p * total


def chance_overlap(systems: int, p: float) -> float:
    """The expected `rank_biased_overlap` of two unrelated orders of the same systems: agreement d / systems at d."""
    depths = np.arange(1, systems + 1)
    return float(p**systems + (1 - p) / p * np.sum(depths / systems * p**depths))


def order_agreement(human: np.ndarray, judge: np.ndarray, p: float, resamples: int, confidence: float, seed: int):
    """τ and rank-biased overlap with intervals, from nDCG [queries, systems] under both graders' qrels."""

    def interval(measure) -> dict:
        def statistic(weights: np.ndarray) -> np.ndarray:
            total = weights.sum(axis=1, keepdims=True)
            return measure(np.round(weights @ human / total, 12), np.round(weights @ judge / total, 12))

        return bootstrap(statistic, len(human), resamples, confidence, seed).to_json()

    return {
        "kendall": interval(kendall_tau),
        "rank_biased_overlap": interval(lambda first, second: rank_biased_overlap(first, second, p)),
    }


def _hash(query_id: str, doc_id: str) -> bytes:
    return hashlib.sha256(f"{query_id}\0{doc_id}".encode("utf-8", "surrogatepass")).digest()
