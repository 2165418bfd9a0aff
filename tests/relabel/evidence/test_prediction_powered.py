"""Prediction-powered means cover as often as they say, narrowly with a good judge and harmlessly with a bad one."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from relabel.errors import InputError
from relabel.evidence.prediction_powered import prediction_powered_mean


def ndcg_like(random: np.random.Generator, queries: int, correlation: float, bias: float = 0.0):
    """Values u^0.8 of uniform u under human grades, with mean 1 / 1.8, and a judge's values that follow them."""
    noise = random.normal(size=(2, queries))
    mixed = correlation * noise[0] + np.sqrt(1 - correlation**2) * noise[1]
    return norm.cdf(noise[0]) ** 0.8, np.clip(norm.cdf(mixed) ** 0.8 + bias, 0, 1)


@pytest.mark.parametrize("labelled", [20, 40])
@pytest.mark.parametrize(("correlation", "bias"), [(0.0, 0.0), (0.6, 0.2), (0.95, -0.1)])
def test_intervals_cover_the_mean_under_human_grades(labelled, correlation, bias):
    """Of 2,000 draws with 20 and 40 labelled queries of 200, 95 % intervals cover in 93.5 % or more, biased or not."""
    random, covered = np.random.default_rng(labelled), 0
    for _ in range(2000):
        human, judge = ndcg_like(random, 200, correlation, bias)
        found = prediction_powered_mean(human[:labelled], judge[:labelled], judge[labelled:]).interval
        covered += found.low <= 1 / 1.8 <= found.high
    assert covered / 2000 >= 0.935
    assert covered / 2000 <= 0.97


def test_a_judge_that_follows_people_makes_intervals_narrower():
    """With a correlation of 0.9 intervals are less than two thirds as wide on average; without any, 6 % wider."""
    random = np.random.default_rng(1)

    def ratio(correlation: float) -> float:
        cases = (ndcg_like(random, 300, correlation) for _ in range(200))
        return np.mean(
            [prediction_powered_mean(human[:30], judge[:30], judge[30:]).width_ratio for human, judge in cases]
        )

    assert ratio(0.9) < 0.66
    assert 0.98 < ratio(0.0) < 1.06


def test_the_human_only_interval_is_students():
    """It is scipy's."""
    random = np.random.default_rng(2)
    human, judge = ndcg_like(random, 80, 0.7)
    found = prediction_powered_mean(human[:25], judge[:25], judge[25:])
    theirs = ttest_1samp(human[:25], 0).confidence_interval(0.95)
    assert (found.human_only.low, found.human_only.high) == pytest.approx((theirs.low, theirs.high))
    assert (found.human_queries, found.judged_queries) == (25, 55)


def test_hand_computed():
    """A judge that equals people: λ = N / (n + N), so that the value is the mean over all queries."""
    human = np.array([0.0, 0.2, 0.4, 0.6, 0.8])
    elsewhere = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    found = prediction_powered_mean(human, human, elsewhere)
    spread = np.var(np.r_[human, elsewhere], ddof=1)
    assert found.tuning == pytest.approx(np.var(human, ddof=1) / (2 * spread))
    assert found.interval.value == pytest.approx(0.4 + found.tuning * 0.1)


def test_a_judge_that_always_says_the_same_changes_nothing():
    """λ is 0 and the value the human mean."""
    found = prediction_powered_mean(np.linspace(0, 1, 10), np.full(10, 0.5), np.full(40, 0.5))
    assert found.tuning == 0
    assert found.interval.value == found.human_only.value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("human", "judge", "elsewhere", "words"),
    [
        ([0.1] * 4, [0.1] * 4, [0.1] * 9, "4 human-labelled and 9 other queries; wanted at least 5 and 2"),
        ([0.1] * 6, [0.1] * 5, [0.1] * 9, "6 human and 5 judge values"),
        ([0.1] * 5 + [np.nan], [0.1] * 6, [0.1] * 9, "a value that is no number"),
    ],
)
def test_what_cannot_be_estimated_is_refused(human, judge, elsewhere, words):
    """Too few queries, unequal lengths and undefined values are errors with numbers in them."""
    with pytest.raises(InputError, match=words):
        prediction_powered_mean(human, judge, elsewhere)


@pytest.mark.data
def test_on_real_queries_a_language_model_narrows_bm25s_ndcg(shared_data):
    """TREC DL 2019 and 2020 together: 30 random labelled queries and GPT-4o's grades of all cover the mean nDCG@10 of
    BM25 over all queries, with intervals narrower than the human-only ones."""
    human, judge = _ndcg(shared_data)
    random, covered, ratios = np.random.default_rng(3), 0, []
    for _ in range(500):
        order = random.permutation(len(human))
        labelled, others = order[:30], order[30:]
        found = prediction_powered_mean(human[labelled], judge[labelled], judge[others])
        covered += found.interval.low <= human.mean() <= found.interval.high
        ratios.append(found.width_ratio)
    assert covered / 500 >= 0.93
    assert np.mean(ratios) < 0.9


def _ndcg(shared_data) -> tuple[np.ndarray, np.ndarray]:
    """nDCG@10 of BM25's order for each query under NIST's grades and under GPT-4o's."""
    import pytrec_eval

    values = []
    for year in ("19", "20"):
        folder = shared_data / f"trec_dl{year}"
        run: dict[str, dict[str, float]] = {}
        with (folder / "candidates_bm25_top100.jsonl").open() as stream:
            for line in stream:
                row = json.loads(line)
                run[row["qid"]] = {hit["docid"]: -float(hit["rank"]) for hit in row["hits"]}
        with (folder / "llm_labels.tsv").open(newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        by_judge = []
        for column in ("human", "umbrela_gpt4o"):
            qrels: dict[str, dict[str, int]] = {}
            for row in rows:
                qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(float(row[column] or 0))
            found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(run)
            by_judge.append({query: entry["ndcg_cut_10"] for query, entry in found.items()})
        values += [[one[query] for one in by_judge] for query in sorted(by_judge[0])]
    return tuple(np.array(values).T)
