"""Means over all queries of a test set of which people graded some and a judge all (`prediction_powered`).

In: the pool with people's grades, the systems' orders of it, and a judgements table of its pairs. nDCG@10 under the
judge takes its expected gain of each document. Invariants: people's grades alone decide what is estimated; queries that
the judge has seen count on neither side; what has no judgement is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.errors import InputError
from relabel.evidence.circularity import queries_seen_by
from relabel.evidence.comparison import System, pairs_to_test
from relabel.evidence.metrics import Gain, Pool, Ranked, ndcg_name, rank_pool
from relabel.evidence.prediction_powered import prediction_powered_mean, refuse_few_queries
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole, rows_by_key

#: Expected gains are told apart in so many steps of the highest; divisible by 1 to 10, so that sure grades are exact.
GAIN_STEPS = 2520


@dataclass(frozen=True)
class JudgedPool:
    """A test pool under a judge's grades.

    Attributes:
        pool: labels are expected gains in `GAIN_STEPS` of the highest, NaN where the judge gave none.
        graded, others: queries that people graded or did not [queries]; the judge graded them and has not seen them.
        left_out: how many queries are neither, and why.
        judge_id: of the judgements.
    """

    pool: Pool
    graded: np.ndarray
    others: np.ndarray
    left_out: dict[str, int]
    judge_id: str

    def ndcg(self, scores: np.ndarray, seed: int) -> np.ndarray:
        """nDCG@10 of the order by `scores` [rows], by query; NaN where the judge graded no document of it."""
        return rank_pool(self.pool, scores, "linear", seed).values[ndcg_name("linear")]


def judged_pool(pool: Pool, pairs: pa.Table, judgements: Folder, gain: Gain) -> JudgedPool:
    """The pool under the grades of a judgements table, which may lack some pairs.

    Args:
        pairs: the test pairs [rows of the pool].
        gain: what a grade is worth in nDCG.

    Raises:
        CircularEvidence: where the judge has seen every query.
        InputError: where it judged none of the pairs, its table has no scale, or fewer than five graded or two
            ungraded queries are left.
    """
    manifest, judged = read_manifest(judgements, "judgements"), read_whole(judgements, "judgements")
    if manifest.scale is None:
        raise InputError(judgements.uri, "a table without a scale", "a table that `relabel judge` wrote")
    queries = dict(zip(pairs["query_id"].to_pylist(), pairs["query"].to_pylist(), strict=True))
    seen = queries_seen_by(manifest.about, list(dict.fromkeys(queries.values())), judgements.uri)
    places = rows_by_key(pairs, judged)
    found = places >= 0
    if not found.any():
        raise InputError(
            judgements.uri,
            f"no judgement of the {pairs.num_rows} test pairs",
            "judgements of them",
            "judge the test table: relabel judge --pairs TEST",
        )
    labels = np.full(pairs.num_rows, np.nan)
    probabilities = np.array(judged["probabilities"].to_pylist(), float)[places[found]]
    labels[found] = np.rint(GAIN_STEPS * probabilities @ _gains(manifest.scale, pool.scale, gain))
    steps = Scale(tuple(range(GAIN_STEPS + 1)), relevant_from=1)
    unseen = np.array([queries[query_id] not in seen for query_id in pool.query_ids])
    usable = unseen & _has(pool, found)
    has_people = _has(pool, pool.judged)
    graded, others = usable & has_people, usable & ~has_people
    refuse_few_queries(int(graded.sum()), int(others.sum()), judgements.uri)
    left_out = {
        "seen by the judge": int(np.sum(~unseen)),
        "without a judgement": int(np.sum(unseen & ~usable)),
    }
    judged_by = replace(pool, labels=labels, scale=steps)
    return JudgedPool(judged_by, graded, others, left_out, manifest.about.get("judge_id", ""))


def _has(pool: Pool, rows: np.ndarray) -> np.ndarray:
    """Queries with any of the rows [queries]."""
    return np.bincount(pool.query[rows], minlength=len(pool.query_ids)) > 0


def _gains(judge: Scale, people: Scale, gain: Gain) -> np.ndarray:
    """What each grade of the judge is worth, as a part of the highest gain [grades of the judge]."""
    grades = people.grade(judge.degree(np.array(judge.grades, float))) - people.grades[0]
    gains = grades if gain == "linear" else 2**grades - 1
    return gains / gains.max()


def refuse_too_few(pairs: pa.Table, where: str) -> None:
    """Raises InputError where people graded too few queries of the test pairs, or so many that no judge is needed."""
    every = pc.unique(pairs["query_id"])
    graded = len(pc.unique(pairs.filter(pairs["label"].is_valid())["query_id"]))
    refuse_few_queries(graded, len(every) - graded, where)


def powered_means(
    systems: Sequence[tuple[System, Ranked]],
    by_judge: dict[str, np.ndarray],
    judged: JudgedPool,
    gain: Gain,
    level: float,
) -> dict:
    """Each system's nDCG@10 over graded and ungraded queries, and the differences of the pairs that are tested.

    Args:
        by_judge: system → nDCG@10 under the judge [queries].
        level: confidence of the intervals.

    Returns:
        JSON values: `values` (system → `prediction_powered.PoweredMean.to_json`) and `differences`, besides what
        they are of.
    """
    measure = ndcg_name(gain)
    human = {system.name: ranked.values[measure] for system, ranked in systems}

    def powered(of: dict[str, float]) -> dict:
        """Of a weighted sum of systems."""
        ours = sum(weight * human[name] for name, weight in of.items())
        its = sum(weight * by_judge[name] for name, weight in of.items())
        return prediction_powered_mean(ours[judged.graded], its[judged.graded], its[judged.others], level).to_json()

    return {
        "measure": measure,
        "judge_id": judged.judge_id,
        "queries_left_out": judged.left_out,
        "assumes": "the graded queries are a random sample of all",
        "values": {name: powered({name: 1.0}) for name in human},
        "differences": [
            {"system": system, "reference": reference, **powered({system: 1.0, reference: -1.0})}
            for system, reference in pairs_to_test([system for system, _ in systems])
        ],
    }
