"""Orders of systems under people's and a judge's grades: τ, rank-biased overlap, nDCG, and honest rankings to order."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from scipy.stats import kendalltau

from relabel.agreement.pool_rankings import pool_rankings
from relabel.agreement.system_order import (
    chance_overlap,
    kendall_tau,
    ndcg,
    order_agreement,
    rank_biased_overlap,
    strict_top,
    system_orders,
)
from relabel.records import Scale

FOUR = Scale((0, 1, 2, 3), relevant_from=2)


def test_kendall_agrees_with_scipy():
    """τ-b of the scores of systems equals scipy's, with ties and for many rows at once."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, (20, 9)).astype(float), random.integers(0, 5, (20, 9)).astype(float)
    theirs = [kendalltau(one, two).statistic for one, two in zip(first, second, strict=True)]
    assert kendall_tau(first, second) == pytest.approx(theirs)
    assert np.isnan(kendall_tau(np.ones((1, 4)), np.arange(4.0)[None])[0])


def overlap_by_sets(first: list[int], second: list[int], p: float) -> float:
    """Equation 32 of Webber, Moffat and Zobel read off: X_d by sets, both lists seen to depth k."""
    k = len(first)
    shared = [len(set(first[:depth]) & set(second[:depth])) for depth in range(1, k + 1)]
    total = sum(shared[depth - 1] / depth * p**depth for depth in range(1, k + 1))
    return shared[-1] / k * p**k + (1 - p) / p * total


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_rank_biased_overlap_is_the_papers(p):
    """For orders without ties it equals the published formula computed with sets; equal orders give 1."""
    random = np.random.default_rng(1)
    for _ in range(20):
        first, second = random.permutation(8), random.permutation(8)
        places = [np.empty(8), np.empty(8)]
        for place, order in zip(places, (first, second), strict=True):
            place[order] = -np.arange(8.0)
        ours = rank_biased_overlap(places[0][None], places[1][None], p)[0]
        assert ours == pytest.approx(overlap_by_sets(first.tolist(), second.tolist(), p))
        assert rank_biased_overlap(places[0][None], places[0][None], p)[0] == pytest.approx(1.0)


def test_rank_biased_overlap_by_hand():
    """a b c against b a c at p 1/2: agreements 0, 1, 1 give 0.375 + 0.125; a tie at the top shares both places."""
    order = np.array([[3.0, 2.0, 1.0]])
    assert rank_biased_overlap(order, np.array([[2.0, 3.0, 1.0]]), 0.5) == pytest.approx([0.5])
    # tied a and b: depth 1 {a} against {a, b}: 2 · 1 / 3; depths 2 and 3: 1
    assert rank_biased_overlap(order, np.array([[3.0, 3.0, 1.0]]), 0.5) == pytest.approx([1 / 3 + 0.25 + 0.125 + 0.125])


def test_chance_overlap_is_the_mean_over_random_orders():
    """The stated value of unrelated orders is what random orders have on average."""
    random = np.random.default_rng(2)
    orders = [np.array([random.permutation(6) for _ in range(4000)], float) for _ in range(2)]
    assert rank_biased_overlap(*orders, 0.8).mean() == pytest.approx(chance_overlap(6, 0.8), abs=0.01)


def test_ndcg_counts_from_the_lowest_grade_and_knows_only_the_pairs():
    """A strict order's nDCG by hand on a 1–4 scale; a document nobody graded gains nothing, a missing query is 0."""
    grades = {("q", "a"): 4, ("q", "b"): 1, ("q", "c"): 2, ("r", "a"): 3}
    top = strict_top({"q": {"x": 9.0, "c": 3.0, "a": 2.0, "b": 1.0}}, ["q", "r"])
    assert top == {"q": ["x", "c", "a", "b"]}
    value = (1 / log2(3) + 3 / log2(4)) / (3 / log2(2) + 1 / log2(3))
    assert ndcg(top, grades, Scale((1, 2, 3, 4), 3), ["q", "r"]) == pytest.approx([value, 0.0])


def test_equal_scores_are_ordered_without_grades_and_only_ten_count():
    """Tied documents come in one order whatever their order in the ranking; ten are kept."""
    docs = [f"d{number}" for number in range(12)]
    one = strict_top({"q": dict.fromkeys(docs, 1.0)}, ["q"])
    assert one == strict_top({"q": dict.fromkeys(reversed(docs), 1.0)}, ["q"])
    assert len(one["q"]) == 10
    assert one["q"] != sorted(one["q"])


def simulated_orders(noise: float):
    """nDCG of six systems on 60 queries, by people and by a judge that sees them with noise."""
    random = np.random.default_rng(4)
    human = np.clip(
        random.normal(0.5, 0.15, (60, 1)) + np.linspace(-0.2, 0.2, 6) + random.normal(0, 0.1, (60, 6)), 0, 1
    )
    return human, human + noise * random.normal(size=human.shape)


def test_a_judge_that_sees_what_people_see_orders_systems_as_they_do():
    """The same values give τ = overlap = 1; heavy noise gives less, with an interval around the value."""
    human, _ = simulated_orders(0)
    same = order_agreement(human, human, 0.8, 200, 0.95, 0)
    assert (same["kendall"]["value"], same["rank_biased_overlap"]["value"]) == pytest.approx((1.0, 1.0))
    noisy = order_agreement(*simulated_orders(3.0), 0.8, 200, 0.95, 0)["kendall"]
    assert noisy["low"] < noisy["value"] < 1
    assert noisy["low"] <= noisy["value"] <= noisy["high"]


def test_systems_are_measured_under_every_grader():
    """A system that people like and the judge does not has a high nDCG under one and a low one under the other."""
    people, judge = {("q", "a"): 3, ("q", "b"): 0}, {("q", "a"): 0, ("q", "b"): 3}
    rankings = {"good": {"q": {"a": 2.0, "b": 1.0}}, "bad": {"q": {"b": 2.0, "a": 1.0, "z": 0.5}}}
    found = system_orders(rankings, {"human": (people, FOUR), "judge": (judge, FOUR)}, ["q"])
    assert found.ndcg["human"].tolist() == [[1.0, pytest.approx(1 / log2(3))]]
    assert found.ndcg["judge"].tolist() == [[pytest.approx(1 / log2(3)), 1.0]]
    assert found.judged == pytest.approx([1.0, 2 / 3])


def test_rankings_built_over_a_pool_are_different_and_see_no_label(make_pairs):
    """At least eight systems with different scores, the same whatever the labels are."""
    rows = [
        (
            "q1",
            "d1",
            "apple pie",
            "apple pie with a lot of apple and some sugar " + "for the crust of the pie " * 3,
            3.0,
        ),
        ("q1", "d2", "apple pie", "plum cake", 0.0),
        ("q1", "d3", "apple pie", "the apple", 1.0),
        ("q2", "d4", "plum cake", "plum cake and plum jam", 2.0),
        ("q2", "d2", "plum cake", "plum cake", 3.0),
    ]
    systems = dict(pool_rankings(make_pairs(rows), None, 0))
    assert len(systems) >= 8
    assert len({tuple(np.round(scores, 6)) for scores in systems.values()}) == len(systems)
    blind = dict(pool_rankings(make_pairs([(*row[:4], 0.0) for row in rows]), None, 0))
    assert all(np.array_equal(scores, blind[name]) for name, scores in systems.items())
    assert systems["longest first"][0] > systems["longest first"][1]
    assert systems["share of common words"].tolist()[1] == 0.0
