"""Measures of a ranked pool, a value per query: nDCG@10, RR@10, AP, P@10, Judged@10.

ir-measures (pytrec_eval behind it) computes them; this module decides what it is given. Gains count from the lowest
grade of the scale and are named in the measure: linear is grade, exponential is 2^grade − 1. Documents with equal
scores are never ordered by their id: the value of a query with ties is the mean over `TIE_ORDERS` random orders of
the tied documents, seeded by a hash of query and document ids and blind to labels (the expected value of McSherry and
Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores", ECIR 2008).
Invariant: a system that scores everything equal gets the value of a random order, never that of the file's order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import ir_measures
import numpy as np
from ir_measures import AP, RR, Judged, P, nDCG

from relabel.errors import InputError
from relabel.records import Scale

Gain = Literal["linear", "exponential"]

#: Depth of the measures with a cutoff.
CUTOFF = 10
#: Random orders of tied documents that a query's values are averaged over.
TIE_ORDERS = 32
#: What a measure on judged documents alone has at the end of its name.
JUDGED_ONLY = ", judged only"


@dataclass(frozen=True)
class Pool:
    """Candidates of several queries with their human labels, in row order.

    Attributes:
        query_ids: id of each query [queries].
        query: index into `query_ids` of each row [rows].
        doc_ids: id of each row's document [rows].
        labels: grade of each row [rows], NaN where nobody judged it.
        ranked: rows that systems rank [rows]; judged rows outside count in the ideal ranking and in recall only.
        scale: the scale of `labels`.
    """

    query_ids: list[str]
    query: np.ndarray
    doc_ids: list[str]
    labels: np.ndarray
    ranked: np.ndarray
    scale: Scale

    def __post_init__(self):
        given = self.labels[~np.isnan(self.labels)]
        wrong = given[~np.isin(given, self.scale.grades)]
        if len(wrong):
            raise InputError("test labels", f"the grade {wrong[0]:g}", f"one of {list(self.scale.grades)}")

    @property
    def judged(self) -> np.ndarray:
        return ~np.isnan(self.labels)

    @property
    def relevant(self) -> np.ndarray:
        return self.judged & (self.labels >= self.scale.relevant_from)


@dataclass(frozen=True)
class Ties:
    """How much of a system's order its scores leave open.

    Attributes:
        queries: queries with at least two ranked documents.
        tied: queries in which documents with equal scores compete for places in the top 10.
        constant: queries in which all scores are equal.
    """

    queries: int
    tied: int
    constant: int


@dataclass(frozen=True)
class Ranked:
    """A system's order of the pool and what it is worth.

    Attributes:
        values: measure name → value of each query [queries], NaN for queries without a judged document.
        rank: 1-based rank of each row [rows], 0 for rows that are not ranked.
        ties: see `Ties`.
    """

    values: dict[str, np.ndarray]
    rank: np.ndarray
    ties: Ties


def averaged(trainings: Sequence[Ranked]) -> Ranked:
    """One system that was trained several times: the mean of each query's values; order and ties of the first."""
    first = trainings[0]
    values = {name: np.mean([one.values[name] for one in trainings], axis=0) for name in first.values}
    return Ranked(values, first.rank, first.ties)


def ndcg_name(gain: Gain) -> str:
    """The name under which nDCG is reported: the gain belongs to it."""
    return f"nDCG@{CUTOFF} ({gain} gain)"


def measures_of(pool: Pool, gain: Gain) -> dict[str, ir_measures.measures.Measure]:
    """Name → measure; where the pool holds unjudged rows, each measure also over the judged documents alone."""
    base, top = pool.scale.grades[0], pool.scale.grades[-1]
    relevant = pool.scale.relevant_from - base
    gains = {grade: grade if gain == "linear" else 2**grade - 1 for grade in range(top - base + 1)}
    found = {
        ndcg_name(gain): nDCG(cutoff=CUTOFF, gains=gains),
        f"RR@{CUTOFF}": RR(rel=relevant),
        "AP": AP(rel=relevant),
        f"P@{CUTOFF}": P(cutoff=CUTOFF, rel=relevant),
    }
    if not pool.judged[pool.ranked].all():
        found |= {name + JUDGED_ONLY: measure(judged_only=True) for name, measure in found.items()}
    return found | {f"Judged@{CUTOFF}": Judged(cutoff=CUTOFF)}


def rank_pool(pool: Pool, scores: np.ndarray, gain: Gain, seed: int = 0) -> Ranked:
    """Order the ranked rows of each query by descending `scores` [rows] and measure the order.

    Unjudged documents count as not relevant, except in the measures named "…, judged only".

    Raises:
        InputError: where a ranked row has no score (NaN).
    """
    scores = np.asarray(scores, dtype=float)
    if np.isnan(scores[pool.ranked]).any():
        row = int(np.flatnonzero(np.isnan(scores) & pool.ranked)[0])
        place = f"query {pool.query_ids[pool.query[row]]!r}, document {pool.doc_ids[row]!r}"
        raise InputError(place, "a score that is not a number", "a number for every document", "look at the model")
    canonical = _hashed_order(pool)
    first_rank = _ranks(pool, scores, canonical)
    tied_queries, ties = _ties(pool, scores, first_rank)
    qrels, measures = _qrels(pool), measures_of(pool, gain)
    if not qrels:
        raise InputError("test pairs", "no judged pair", "human grades to measure against")
    evaluator = ir_measures.evaluator(list(measures.values()), qrels)
    values = _measured(evaluator, measures, pool, first_rank, np.arange(len(pool.query_ids)))
    if len(tied_queries):
        random = np.random.default_rng(seed)
        sums = {name: column[tied_queries].copy() for name, column in values.items()}
        for _ in range(TIE_ORDERS - 1):
            rank = _ranks(pool, scores, random.permutation(len(scores))[canonical])
            again = _measured(evaluator, measures, pool, rank, tied_queries)
            for name in sums:
                sums[name] += again[name][tied_queries]
        for name, total in sums.items():
            values[name][tied_queries] = total / TIE_ORDERS
    return Ranked(values, first_rank, ties)


def _hashed_order(pool: Pool) -> np.ndarray:
    """Place of each row [rows] in an order by a hash of its ids, which knows neither labels nor the file's order."""
    digests = [
        hashlib.sha256(f"{pool.query_ids[query]}\0{doc_id}".encode("utf-8", "surrogatepass")).digest()[:8]
        for query, doc_id in zip(pool.query, pool.doc_ids, strict=True)
    ]
    place = np.empty(len(digests), dtype=np.int64)
    place[np.argsort(np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.uint64))] = np.arange(
        len(digests)
    )
    return place


def _ranks(pool: Pool, scores: np.ndarray, tie_key: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(pool.ranked)
    order = rows[np.lexsort((tie_key[rows], -scores[rows], pool.query[rows]))]
    query = pool.query[order]
    starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]]) if len(order) else np.empty(0, int)
    rank = np.zeros(len(scores), dtype=np.int32)
    rank[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)])) + 1
    return rank


def _ties(pool: Pool, scores: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, Ties]:
    """Indices of the queries with any two equal scores, and the counts."""
    order = np.lexsort((rank, pool.query))
    order = order[rank[order] > 0]
    same = (pool.query[order][1:] == pool.query[order][:-1]) & (scores[order][1:] == scores[order][:-1])
    any_tie = np.unique(pool.query[order][1:][same])
    near_top = np.unique(pool.query[order][1:][same & (rank[order][1:] <= CUTOFF + 1)])
    sizes = np.bincount(pool.query[order], minlength=len(pool.query_ids))
    equal = np.bincount(pool.query[order][1:][same], minlength=len(pool.query_ids))
    several = sizes > 1
    constant = int(np.sum(several & (equal == sizes - 1)))
    return any_tie, Ties(int(several.sum()), len(near_top), constant)


def _qrels(pool: Pool) -> dict[str, dict[str, int]]:
    base = pool.scale.grades[0]
    qrels: dict[str, dict[str, int]] = {}
    for row in np.flatnonzero(pool.judged):
        qrels.setdefault(str(pool.query[row]), {})[str(row)] = int(pool.labels[row]) - base
    return qrels


def _measured(evaluator, measures: dict, pool: Pool, rank: np.ndarray, queries: np.ndarray) -> dict[str, np.ndarray]:
    """Values [queries of the pool] of one strict order, to be read for the chosen queries; rows are their own ids."""
    run: dict[str, dict[str, float]] = {}
    for row in np.flatnonzero((rank > 0) & np.isin(pool.query, queries)):
        run.setdefault(str(pool.query[row]), {})[str(row)] = -float(rank[row])
    values = {name: np.full(len(pool.query_ids), np.nan) for name in measures}
    names = {measure: name for name, measure in measures.items()}
    for metric in evaluator.iter_calc(run):
        values[names[metric.measure]][int(metric.query_id)] = metric.value
    for name, column in values.items():
        if name.startswith("RR@"):
            column[column < 1 / CUTOFF - 1e-9] = 0.0
    return values
