"""Agreement with people: hand-computed statistics, honest sentences, and no pair that the judge has seen."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow as pa
import pytest

from relabel.agreement import rater_statistics as rater
from relabel.agreement.measure_judge import bm25_scores, free_scorers, measure_judge
from relabel.agreement.measures import agreement
from relabel.errors import CircularEvidence, InputError
from relabel.lineage import query_fingerprint, write_queries_seen
from relabel.records import JUDGEMENTS, PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole

FOUR = Scale((0, 1, 2, 3), relevant_from=2)
ONE_TO_FOUR = Scale((1, 2, 3, 4), relevant_from=3)
BINARY = Scale((0, 1), relevant_from=1)
ALL = np.ones((1, 1))


def one_query(values) -> np.ndarray:
    return np.zeros(len(values), int)


def one_hot(grades, scale: Scale) -> np.ndarray:
    return (np.asarray(grades)[:, None] == np.array(scale.grades)).astype(float)


def simulated(sharpness: float, seed: int = 0, queries: int = 40, pairs: int = 20):
    """Human grades and a judge's logits that follow them with a given sharpness, on the 0–3 scale."""
    random = np.random.default_rng(seed)
    human = random.choice(4, size=queries * pairs, p=[0.5, 0.2, 0.2, 0.1])
    logits = random.normal(size=(len(human), 4)) + sharpness * one_hot(human, FOUR)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    query_ids = [f"q{row // pairs}" for row in range(len(human))]
    return human, probabilities.argmax(axis=1), probabilities, query_ids


def test_kappa_hand_computed():
    """Observed agreement 3/4 and expected 1/2 give κ = 0.5; a constant rater gives 0."""
    confusion = rater.confusion_by_query(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), one_query(range(4)), 1, 2)
    assert rater.accuracy(confusion)(ALL) == pytest.approx([0.75])
    assert rater.kappa(confusion, 0)(ALL) == pytest.approx([0.5])
    constant = rater.confusion_by_query(np.array([0, 0, 1]), np.array([1, 1, 1]), one_query(range(3)), 1, 2)
    assert rater.kappa(constant, 0)(ALL) == pytest.approx([0.0])


@pytest.mark.parametrize(("power", "weights"), [(0, None), (1, "linear"), (2, "quadratic")])
def test_weighted_kappa_agrees_with_scikit_learn(power, weights):
    """κ with no, linear and quadratic weights equals scikit-learn's."""
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    truth, answer = random.integers(0, 4, 200), random.integers(0, 4, 200)
    confusion = rater.confusion_by_query(truth, answer, one_query(truth), 1, 4)
    theirs = metrics.cohen_kappa_score(truth, answer, weights=weights)
    assert rater.kappa(confusion, power)(ALL)[0] == pytest.approx(theirs)


def test_auc_counts_ties_one_half():
    """Of four positive–negative pairs three are right and one is tied: AUC 3.5/4."""
    scores, positive = np.array([0.5, 0.1, 0.9, 0.5]), np.array([False, False, True, True])
    assert rater.auc(scores, positive, one_query(scores))(ALL) == pytest.approx([0.875])
    assert rater.auc(np.zeros(4), positive, one_query(scores))(ALL) == pytest.approx([0.5])
    assert np.isnan(rater.auc(scores, positive | True, one_query(scores))(ALL)[0])


def test_auc_weighs_queries():
    """A query drawn twice counts like two copies of its rows; one not drawn does not count."""
    scores, positive = np.array([1.0, 2.0, 4.0, 3.0]), np.array([False, True, False, True])
    query = np.array([0, 0, 1, 1])
    statistic = rater.auc(scores, positive, query)
    twice = rater.auc(np.r_[scores, scores[2:]], np.r_[positive, positive[2:]], np.zeros(6, int))(ALL)
    assert statistic(np.array([[1.0, 2.0], [1.0, 0.0]])) == pytest.approx([twice[0], 1.0])


def test_auc_inside_queries_ignores_the_level_of_a_query():
    """Scores that order every query right but sit at other levels have AUC 1 inside, and less when pooled."""
    scores, positive = np.array([1.0, 2.0, 11.0, 12.0]), np.array([False, True, False, True])
    query = np.array([0, 0, 1, 1])
    assert rater.auc_by_query(scores, positive, query, 3) == pytest.approx([1.0, 1.0, np.nan], nan_ok=True)
    assert rater.auc(scores, positive, query)(np.ones((1, 2))) == pytest.approx([0.75])


def test_calibration_error_hand_computed():
    """Two bins: 0.9 said and 1/2 true (two rows), 0.1 said and 0 true (two rows): error (0.4 + 0.1) / 2."""
    probability, truth = np.array([0.9, 0.9, 0.1, 0.1]), np.array([1, 0, 0, 0])
    sums = rater.calibration_bins(probability, truth, one_query(truth), 1)
    assert rater.calibration_error(sums)(ALL) == pytest.approx([0.25])


def test_kendall_of_a_scorer_that_orders_nothing_is_zero():
    """Constant scores get τ 0 where there was something to order, and nothing where all grades are equal."""
    grades, query = np.array([0, 3, 1, 1]), np.array([0, 0, 1, 1])
    assert rater.kendall_by_query(np.zeros(4), grades, query, 2) == pytest.approx([0.0, np.nan], nan_ok=True)
    assert rater.kendall_by_query(np.array([1.0, 2, 3, 4]), grades, query, 2)[0] == pytest.approx(1.0)


def test_small_agreement_by_hand():
    """Base rates, majority baseline, confusion, error of the expected grade and AUCs of six pairs."""
    human, grades = np.array([0, 0, 0, 1, 2, 3]), np.array([0, 0, 1, 1, 2, 2])
    found = agreement(human, grades, one_hot(grades, FOUR), list("aaabbb"), FOUR, FOUR, resamples=50)
    assert found["human_grades"] == pytest.approx({"0": 0.5, "1": 1 / 6, "2": 1 / 6, "3": 1 / 6})
    assert found["majority"] == {"answer": "0", "accuracy": 0.5}
    assert found["accuracy"]["value"] == pytest.approx(4 / 6)
    assert found["confusion"]["counts"] == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    assert found["binary"]["counts"] == [[4, 0], [0, 2]]
    assert found["mean_absolute_error"]["judge"]["value"] == pytest.approx(2 / 6)
    assert found["mean_absolute_error"]["constant"] == pytest.approx(6 / 6)
    assert found["auc"]["2"]["pooled"]["value"] == 1.0
    assert found["auc"]["3"]["pooled"]["value"] == pytest.approx(4.5 / 5)


def test_scales_of_equal_length_are_compared_grade_by_grade():
    """A judge on 1–4 that says the same as one on 0–3 gets the same numbers."""
    human, grades, probabilities, queries = simulated(1.0)
    same = agreement(human, grades, probabilities, queries, FOUR, FOUR, resamples=50)
    shifted = agreement(human, grades + 1, probabilities, queries, FOUR, ONE_TO_FOUR, resamples=50)
    for name in ("accuracy", "kappa", "auc", "mean_absolute_error", "binary"):
        assert shifted[name] == same[name]
    assert shifted["compared"] == "grade by grade, lowest of one scale with lowest of the other"


def test_a_binary_judge_is_compared_as_relevant_or_not():
    """Scales of different lengths are reduced to relevant or not, and that is stated."""
    human = np.array([0, 1, 2, 3])
    found = agreement(human, [0, 0, 1, 1], one_hot([0, 0, 1, 1], BINARY), list("aabb"), FOUR, BINARY, resamples=50)
    assert found["accuracy"]["value"] == 1.0
    assert found["confusion"]["classes"] == ["not relevant", "relevant"]
    assert found["compared"] == "relevant or not, the scales have different numbers of grades"


def test_a_judge_without_skill_is_called_that():
    """A judge at chance beside a good scorer is called not distinguishable from chance, worse, not to be trusted."""
    human, grades, probabilities, queries = simulated(0.0)
    encoder = human + np.random.default_rng(5).normal(size=len(human))
    found = agreement(human, grades, probabilities, queries, FOUR, FOUR, {"the zero-shot encoder": encoder}, None, 300)
    assert found["trust"] == "no"
    first, inside, *_, last = found["verdict"]
    assert first.startswith("On 800 held-out pairs of 40 queries the judge's AUC(≥2) is 0.")
    assert "not distinguishable from chance; worse than the zero-shot encoder (0.9" in first
    assert "worse than the zero-shot encoder" in inside
    assert last == "The judge should not be trusted to relabel."


def test_a_good_judge_is_called_better():
    """A judge clearly above chance and above the scorers beside it is trusted, with the caveat."""
    human, grades, probabilities, queries = simulated(3.0)
    noise = np.random.default_rng(5).normal(size=len(human))
    found = agreement(human, grades, probabilities, queries, FOUR, FOUR, {"BM25": human + 4 * noise}, None, 300)
    assert found["trust"] == "yes"
    assert "better than chance and BM25 (0." in found["verdict"][0]
    assert "only the ranking on human judgements can tell" in found["verdict"][-1]


def test_a_judge_that_was_compared_with_nothing_is_doubtful():
    """Better than chance alone is not enough to trust a judge."""
    found = agreement(*simulated(3.0), FOUR, FOUR, resamples=200)
    assert found["trust"] == "doubtful"
    assert found["verdict"][-1].startswith("It is not shown that the judge is better than what costs nothing")


def test_a_judge_as_good_as_a_free_scorer_is_doubtful():
    """No clear difference from a scorer that costs nothing is said, and is no reason to trust."""
    human, grades, probabilities, queries = simulated(2.0)
    twin = probabilities @ np.arange(4)
    found = agreement(human, grades, probabilities, queries, FOUR, FOUR, {"BM25": twin}, None, 300)
    assert found["trust"] == "doubtful"
    assert "not distinguishable from BM25" in found["verdict"][0]


def test_a_judge_that_always_says_the_same_is_exposed():
    """One grade for nearly every pair, and few queries, are both pointed out."""
    human = np.array([0, 1, 2, 3] * 10)
    grades = np.ones(40, int)
    found = agreement(human, grades, one_hot(grades, FOUR), [f"q{i // 4}" for i in range(40)], FOUR, FOUR, resamples=50)
    assert "It answers 1 for 100\N{NO-BREAK SPACE}% of the pairs: it hardly tells documents apart." in found["verdict"]
    assert "10 queries are few: the intervals are wide." in found["verdict"]
    assert found["trust"] == "no"


def test_undefined_values_are_null_not_wrong():
    """Without any relevant pair the AUC is undefined and the judge is not trusted."""
    found = agreement([0, 0, 1], [0, 0, 1], one_hot([0, 0, 1], FOUR), list("abc"), FOUR, FOUR, resamples=50)
    assert found["auc"]["2"]["pooled"]["value"] is None
    assert "AUC(≥2) is undefined" in found["verdict"][0]
    assert found["trust"] == "no"


def test_bad_arrays_are_refused():
    """No pairs, grades off the scale, a wrong number of probabilities and NaN scores are each named."""
    with pytest.raises(InputError, match="agreement: found no pairs"):
        agreement([], [], np.empty((0, 4)), [], FOUR, FOUR)
    with pytest.raises(InputError, match="human grades: found the grade 7"):
        agreement([7], [0], one_hot([0], FOUR), ["a"], FOUR, FOUR)
    with pytest.raises(InputError, match=r"judge probabilities: found shape \[1, 2\]; wanted shape \[1, 4\]"):
        agreement([1], [0], np.ones((1, 2)), ["a"], FOUR, FOUR)
    with pytest.raises(InputError, match="scores of BM25: found a score that is not a number"):
        agreement([1], [0], one_hot([0], FOUR), ["a"], FOUR, FOUR, {"BM25": [float("nan")]})


def write_pairs(folder: Folder, rows: list[tuple[str, str, float | None]], source: str = "human") -> None:
    """Rows are (query text, doc id, grade); the query id is the text."""
    values = [
        {"query_id": q, "doc_id": d, "query": q, "title": "", "text": f"text of {d}", "label": label,
         "label_source": source}
        for q, d, label in rows
    ]  # fmt: skip
    missing = {"query_frequency": None, "first_stage_rank": None, "first_stage_score": None}
    writer = TableWriter(folder, "pairs", FOUR)
    writer.write(pa.Table.from_pylist([value | missing for value in values], PAIRS))
    writer.finish()


def write_judgements(folder: Folder, rows: list[tuple[str, str, int]], judge_folder: str | None = None) -> None:
    values = [
        {"query_id": q, "doc_id": d, "grade": grade, "score": float(grade),
         "probabilities": one_hot([grade], FOUR)[0].tolist(), "logprobs": [0.0] * 4, "off_label_mass": 0.0,
         "prompt_tokens": 5, "truncated": False, "judge_id": "abc"}
        for q, d, grade in rows
    ]  # fmt: skip
    writer = TableWriter(folder, "judgements", FOUR)
    writer.write(pa.Table.from_pylist(values, JUDGEMENTS))
    writer.finish({"judge_id": "abc", "engine": "lexical", "judge_folder": judge_folder})


def test_measure_judge_leaves_seen_queries_out_and_counts_everything(tmp_path):
    """Pairs of seen queries, unlabelled pairs and pairs without a judgement do not enter, and are counted."""
    human, judged, judge = (Folder(tmp_path / name) for name in ("human", "judged", "judge"))
    write_pairs(human, [("a", "1", 0), ("a", "2", 3), ("b", "1", 0), ("b", "2", 2), ("b", "3", None), ("c", "1", 3)])
    write_judgements(judged, [("b", "2", 2), ("b", "1", 0), ("a", "1", 3), ("a", "2", 0)])
    write_queries_seen(judge, [query_fingerprint("A")])
    others = {"length": lambda pairs: np.array([len(text) for text in pairs["text"].to_pylist()], float)}
    lines: list[str] = []
    found = measure_judge(judged, human, Folder(tmp_path), others, judge, resamples=20, log=lines.append)
    assert (found["pairs"], found["queries"], found["accuracy"]["value"]) == (2, 1, 1.0)
    assert (found["pairs_of_seen_queries"], found["queries_seen"], found["pairs_without_judgement"]) == (2, 1, 1)
    assert found["judge"]["judge_id"] == "abc"
    assert found["human_sources"] == {"human": 2}
    assert not any("not from people" in sentence for sentence in found["verdict"])
    assert found["comparisons"][0]["auc"]["2"]["pooled"]["value"] == 0.5
    assert Folder(tmp_path).read_json("agreement.json") == found
    assert any("trusted" in line for line in lines)


def test_measure_judge_knows_the_trained_judge_behind_the_judgements(tmp_path):
    """Without being told, the queries that the judge was trained on are left out; a missing list is pointed out."""
    human, judged, judge = (Folder(tmp_path / name) for name in ("human", "judged", "judge"))
    write_pairs(human, [("a", "1", 0), ("b", "1", 0), ("b", "2", 2)])
    write_judgements(judged, [("b", "2", 2), ("b", "1", 0), ("a", "1", 3)], judge.uri)
    found = measure_judge(judged, human, Folder(tmp_path), resamples=20, log=lambda line: None)
    assert (found["pairs"], found["verdict"][-1]) == (
        3,
        f"That the judge has not seen these queries could not be checked: {judge.uri} has no queries_seen.parquet.",
    )
    write_queries_seen(judge, [query_fingerprint("A")])
    found = measure_judge(judged, human, Folder(tmp_path), resamples=20, log=lambda line: None)
    assert (found["pairs"], found["pairs_of_seen_queries"]) == (2, 1)


def test_bm25_beside_the_judge_is_the_first_stage_or_computed(tmp_path):
    """First-stage scores are used where every pair has one; otherwise BM25 runs over the pairs' own documents."""
    write_pairs(Folder(tmp_path), [("apple pie", "1", 0), ("apple pie", "2", 3), ("plum", "3", 1)])
    pairs = read_whole(Folder(tmp_path), "pairs")
    texts = pa.array(["bread and butter", "an apple pie recipe", "plum jam"], pa.string())
    pairs = pairs.set_column(pairs.schema.get_field_index("text"), PAIRS.field("text"), texts)
    computed = bm25_scores(pairs)
    assert computed[0] == 0.0
    assert computed[1] > 0
    assert computed[2] > 0
    given = pa.array([3.0, 2.0, 1.0], pa.float32())
    scored = pairs.set_column(
        pairs.schema.get_field_index("first_stage_score"), PAIRS.field("first_stage_score"), given
    )
    assert bm25_scores(scored).tolist() == [3.0, 2.0, 1.0]
    assert list(free_scorers("all-minilm-l6-v2")) == ["BM25", "the zero-shot encoder"]
    assert list(free_scorers(None)) == ["BM25"]


def test_measure_judge_refuses_circular_evidence(tmp_path):
    """Labels of a judge, and a human set of seen queries only, are refused with the way out."""
    human, judged, judge = (Folder(tmp_path / name) for name in ("human", "judged", "judge"))
    write_judgements(judged, [("a", "1", 0)])
    write_pairs(human, [("a", "1", 0)], source="judge:abc")
    with pytest.raises(
        CircularEvidence, match=r"1 labels made by a judge \(judge:abc\); wanted labels given by people"
    ):
        measure_judge(judged, human, Folder(tmp_path), resamples=20)
    write_pairs(human, [("a", "1", 0)])
    write_queries_seen(judge, [query_fingerprint("a")])
    with pytest.raises(CircularEvidence, match=r"only queries that the judge was trained on \(1\)"):
        measure_judge(judged, human, Folder(tmp_path), judge_folder=judge, resamples=20)


def test_measure_judge_needs_judgements_of_the_human_pairs(tmp_path):
    """Judgements of other pairs are no evidence."""
    human, judged = Folder(tmp_path / "human"), Folder(tmp_path / "judged")
    write_pairs(human, [("a", "1", 0)])
    write_judgements(judged, [("x", "1", 0)])
    with pytest.raises(InputError, match="no judgement of the 1 human pairs"):
        measure_judge(judged, human, Folder(tmp_path), resamples=20)


@pytest.mark.data
@pytest.mark.parametrize(("year", "graded", "binary"), [("19", 0.363, 0.524), ("20", 0.341, 0.450)])
def test_published_kappas_of_a_strong_judge(shared_data, year, graded, binary):
    """κ of GPT-4o with the UMBRELA prompt against NIST equals the documented values, over grades and binary at ≥ 2."""
    with open(shared_data / f"trec_dl{year}/llm_labels.tsv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["umbrela_gpt4o"] in {"0", "1", "2", "3"}]
    human, grades = (np.array([int(row[name]) for row in rows]) for name in ("human", "umbrela_gpt4o"))
    found = agreement(human, grades, one_hot(grades, FOUR), [row["query-id"] for row in rows], FOUR, FOUR, resamples=20)
    assert found["kappa"]["unweighted"]["value"] == pytest.approx(graded, abs=6e-4)
    assert found["binary"]["kappa"]["value"] == pytest.approx(binary, abs=6e-4)
