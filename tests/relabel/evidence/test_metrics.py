"""Measures against hand-computed values and the documented BM25 runs; ties must neither help nor hurt a system."""

from __future__ import annotations

import json
from itertools import permutations
from math import log2

import numpy as np
import pytest

from relabel.errors import InputError
from relabel.evidence.metrics import Pool, ndcg_name, rank_pool
from relabel.records import Scale

SCALE = Scale((0, 1, 2, 3), relevant_from=2)
NAN = float("nan")


def pool_of(labels: dict[str, list[float]], scale: Scale = SCALE, ranked: list[bool] | None = None) -> Pool:
    """A pool with documents d0, d1, … for each query."""
    query = [index for index, grades in enumerate(labels.values()) for _ in grades]
    flat = [grade for grades in labels.values() for grade in grades]
    docs = [f"d{place}" for grades in labels.values() for place in range(len(grades))]
    every = np.ones(len(flat), bool) if ranked is None else np.array(ranked)
    return Pool(list(labels), np.array(query), docs, np.array(flat, float), every, scale)


def test_hand_computed_values():
    """Order 0, 3, 1, 2 of one query: every measure equals the value worked out by hand, for both gains."""
    pool = pool_of({"q": [3, 2, 1, 0]})
    scores = np.array([3.0, 1.0, 2.0, 4.0])
    dcg = 3 / log2(3) + 1 / log2(4) + 2 / log2(5)
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    linear = rank_pool(pool, scores, "linear")
    assert linear.values["nDCG@10 (linear gain)"] == pytest.approx([dcg / ideal])
    assert linear.values["RR@10"] == pytest.approx([1 / 2])
    assert linear.values["AP"] == pytest.approx([(1 / 2 + 2 / 4) / 2])
    assert linear.values["P@10"] == pytest.approx([2 / 10])
    assert linear.values["Judged@10"] == pytest.approx([1.0])
    assert linear.rank.tolist() == [2, 4, 3, 1]
    dcg = 7 / log2(3) + 1 / log2(4) + 3 / log2(5)
    ideal = 7 / log2(2) + 3 / log2(3) + 1 / log2(4)
    exponential = rank_pool(pool, scores, "exponential")
    assert exponential.values["nDCG@10 (exponential gain)"] == pytest.approx([dcg / ideal])


def test_gain_counts_from_the_lowest_grade():
    """A 1–4 scale gives the values of the same judgements on 0–3: the lowest grade has no gain."""
    zero_based = rank_pool(pool_of({"q": [3, 0, 2, 1]}), np.arange(4.0), "exponential")
    one_based = rank_pool(pool_of({"q": [4, 1, 3, 2]}, Scale((1, 2, 3, 4), 3)), np.arange(4.0), "exponential")
    assert {name: v.tolist() for name, v in zero_based.values.items()} == {
        name: v.tolist() for name, v in one_based.values.items()
    }


def test_unjudged_count_as_zero_and_are_skipped_in_the_judged_only_measures():
    """An unjudged document at the top costs the plain measures a place and the judged-only ones nothing."""
    ranked = rank_pool(pool_of({"q": [NAN, 3, 0]}), np.array([3.0, 2.0, 1.0]), "linear")
    assert ranked.values["RR@10"] == pytest.approx([1 / 2])
    assert ranked.values["RR@10, judged only"] == pytest.approx([1.0])
    assert ranked.values["nDCG@10 (linear gain)"] == pytest.approx([1 / log2(3)])
    assert ranked.values["nDCG@10 (linear gain), judged only"] == pytest.approx([1.0])
    assert ranked.values["Judged@10"] == pytest.approx([2 / 3])


def test_reciprocal_rank_stops_at_ten():
    """A first relevant document at rank 10 counts 0.1, at rank 11 nothing."""
    scores = -np.arange(11.0)
    assert rank_pool(pool_of({"q": [0] * 9 + [3, 0]}), scores, "linear").values["RR@10"] == pytest.approx([0.1])
    assert rank_pool(pool_of({"q": [0] * 10 + [3]}), scores, "linear").values["RR@10"] == pytest.approx([0.0])


def test_judged_rows_outside_the_candidates_count_in_the_ideal_ranking():
    """A relevant document that no system ranks lowers nDCG and AP."""
    pool = pool_of({"q": [3, 0, 3]}, ranked=[True, True, False])
    ranked = rank_pool(pool, np.array([2.0, 1.0, NAN]), "linear")
    assert ranked.values["nDCG@10 (linear gain)"] == pytest.approx([3 / (3 + 3 / log2(3))])
    assert ranked.values["AP"] == pytest.approx([1 / 2])
    assert ranked.rank.tolist() == [1, 2, 0]


def test_queries_without_relevant_documents_are_zero_and_without_judgements_undefined():
    """Grade-0 pools score 0 as in trec_eval; a query that nobody judged has no value."""
    ranked = rank_pool(pool_of({"zero": [0, 0], "none": [NAN, NAN], "one": [3, 0]}), -np.arange(6.0), "linear")
    assert ranked.values["nDCG@10 (linear gain)"] == pytest.approx([0.0, NAN, 1.0], nan_ok=True)


def test_a_constant_system_is_found_and_gets_the_value_of_a_random_order():
    """Equal scores are reported, and best-first file order or ids do not make them look perfect."""
    labels = [3] + [0] * 29
    ranked = rank_pool(pool_of({f"q{i}": labels for i in range(40)}), np.zeros(40 * 30), "linear")
    assert (ranked.ties.queries, ranked.ties.tied, ranked.ties.constant) == (40, 40, 40)
    expected = sum(1 / log2(rank + 1) for rank in range(1, 11)) / 30
    assert ranked.values["nDCG@10 (linear gain)"].mean() == pytest.approx(expected, abs=0.02)


def test_tied_value_is_the_mean_over_all_orders():
    """Three tied documents: the value is close to the exact mean over the 3! orders."""
    labels = [3, 1, 0]
    ideal = 3 + 1 / log2(3)
    exact = np.mean([sum(g / log2(i + 2) for i, g in enumerate(order)) / ideal for order in permutations(labels)])
    ranked = rank_pool(pool_of({f"q{i}": labels for i in range(60)}), np.ones(180), "linear")
    assert ranked.values["nDCG@10 (linear gain)"].mean() == pytest.approx(exact, abs=0.01)


def test_ties_below_the_top_ten_are_not_counted_as_competing_for_it():
    """Equal scores at ranks 11 and 12 leave the top 10 as it is; at ranks 10 and 11 they do not."""
    below = rank_pool(pool_of({"q": [1] * 12}), np.r_[-np.arange(10.0), -50, -50], "linear")
    across = rank_pool(pool_of({"q": [1] * 11}), np.r_[-np.arange(9.0), -50, -50], "linear")
    assert (below.ties.tied, across.ties.tied) == (0, 1)


def test_order_of_the_rows_does_not_matter():
    """The same pool in another row order gives the same ranks, ties included."""
    pool = pool_of({"q": [3, 0, 2, 1, 0]})
    scores = np.array([1.0, 1.0, 2.0, 1.0, 0.5])
    turned = Pool(pool.query_ids, pool.query, pool.doc_ids[::-1], pool.labels[::-1], pool.ranked, SCALE)
    assert (
        rank_pool(pool, scores, "linear").rank.tolist() == rank_pool(turned, scores[::-1], "linear").rank.tolist()[::-1]
    )


def test_grades_off_the_scale_are_refused():
    """A test label that is no grade of the scale is named."""
    with pytest.raises(InputError, match=r"test labels: found the grade 1.5; wanted one of \[0, 1, 2, 3\]"):
        pool_of({"q": [1.5, 0]})


def test_scores_that_are_not_numbers_are_refused():
    """A NaN score names query and document instead of being ranked somewhere."""
    with pytest.raises(InputError, match=r"query 'q', document 'd1': found a score that is not a number"):
        rank_pool(pool_of({"q": [1, 0]}), np.array([1.0, NAN]), "linear")


@pytest.mark.data
@pytest.mark.parametrize(("year", "documented"), [("19", 0.5058), ("20", 0.4796)])
def test_bm25_runs_of_trec_dl_have_their_documented_values(shared_data, year, documented):
    """nDCG@10 (linear gain) of the BM25 top 100 against all qrels equals the value documented with the data."""
    folder = shared_data / f"trec_dl{year}"
    grades = {}
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query_id, doc_id, grade = line.split("\t")
        grades[query_id, doc_id] = float(grade)
    scores = {}
    for line in (folder / "candidates_bm25_top100.jsonl").read_bytes().splitlines():
        hits = json.loads(line)
        scores |= {(hits["qid"], hit["docid"]): hit["score"] for hit in hits["hits"]}
    keys = sorted(grades.keys() | scores.keys())
    query_ids = sorted({key[0] for key in keys})
    pool = Pool(
        query_ids,
        np.array([query_ids.index(query_id) for query_id, _ in keys]),
        [doc_id for _, doc_id in keys],
        np.array([grades.get(key, NAN) for key in keys]),
        np.array([key in scores for key in keys]),
        SCALE,
    )
    ranked = rank_pool(pool, np.array([scores.get(key, NAN) for key in keys]), "linear")
    assert np.nanmean(ranked.values[ndcg_name("linear")]) == pytest.approx(documented, abs=5e-5)
