"""`relabel calibrate`: the method is chosen on queries it has not seen, and nothing is reported on those it has."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.calibration.fit import CalibrateConfig, calibrate, cross_fitted
from relabel.calibration.method import log_loss
from relabel.calibration.queries import folds, reserved
from relabel.calibration.record import Calibration
from relabel.errors import CircularEvidence, InputError
from relabel.judges import JudgeConfig, load_judge
from relabel.lineage import query_fingerprint, read_queries_seen, write_queries_seen
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole
from tests.relabel.calibration.cases import BINARY, GRADED, simulate, write_case


def fit(folder: Folder, **keys) -> dict:
    return calibrate(config(folder, **keys), folder / "calibration", lambda line: None)


def config(folder: Folder, **keys) -> CalibrateConfig:
    values = {"judgements": (folder / "judged").uri, "human": (folder / "human").uri, "resamples": 100}
    return CalibrateConfig.load(values | keys, "test")


def test_the_method_that_predicts_unseen_queries_best_is_chosen(tmp_path):
    """A judge that is shifted and overstates gets shifts; its calibration error falls, and its log-loss clearly."""
    folder = Folder(tmp_path)
    write_case(folder, *simulate(60, 20, seed=1, sharpness=2.5, biases=(-2, 0, 1, 1)))
    found = fit(folder)
    measured = found["measured"]
    assert found["method"] == "temperature-bias"
    assert measured["temperature-bias"]["log_loss_difference"]["high"] < -0.1
    assert measured["temperature-bias"]["calibration_error"]["value"] < 0.06
    assert measured["none"]["calibration_error"]["value"] > 0.12
    assert sum(entry["pairs"] for entry in measured["temperature-bias"]["bins"]) == found["pairs"] == 1200


def test_a_calibrated_judge_stays_as_it_is(tmp_path):
    """Where the judge's distributions are right already, no method brings more than a hundredth of a nat."""
    folder = Folder(tmp_path)
    write_case(folder, *simulate(60, 20, seed=2))
    found = fit(folder, resamples=300)
    losses = {name: entry["log_loss"]["value"] for name, entry in found["measured"].items()}
    assert losses["none"] - min(losses.values()) < 0.01


def test_a_query_is_calibrated_by_what_has_not_seen_it():
    """With grades that no other query shares, cross-fitting learns nothing of them, while fitting on all would."""
    random = np.random.default_rng(3)
    queries = np.repeat(np.arange(20), 10)
    truth = random.integers(0, 4, 20)[queries]
    logprobs = np.log(random.dirichlet(np.ones(4), 20)[queries])
    fold = folds([str(query) for query in queries], 5, 0)
    unseen = log_loss(cross_fitted("isotonic", logprobs, truth, fold), truth).mean()
    seen = log_loss(cross_fitted("isotonic", np.tile(logprobs, (2, 1)), np.tile(truth, 2), np.repeat([0, 1], 200)),
                    np.tile(truth, 2)).mean()  # fmt: skip
    assert unseen > np.log(4) - 0.1
    assert seen < unseen - 0.3


def test_folds_and_reserve_are_by_query_and_even():
    """All rows of a query share a fold, sizes differ by one at most, and a reserve is a whole number of queries."""
    rows = [f"q{number % 23}" for number in range(400)]
    fold = folds(rows, 5, seed=7)
    by_query = {query: set(fold[[row == query for row in rows]]) for query in set(rows)}
    assert all(len(found) == 1 for found in by_query.values())
    sizes = [sum(found == {number} for found in by_query.values()) for number in range(5)]
    assert max(sizes) - min(sizes) <= 1
    assert len(reserved(rows, 0.5, 7)) == 12
    assert reserved(rows, 0.5, 7) == reserved(rows[::-1], 0.5, 7) != reserved(rows, 0.5, 8)


def test_reserved_queries_are_neither_used_nor_listed(tmp_path):
    """Half of the queries stay unseen: the list of queries that were used has the other half."""
    folder = Folder(tmp_path)
    write_case(folder, *simulate(20, 10, seed=4))
    found = fit(folder, reserve=0.5)
    seen = read_queries_seen(folder / "calibration")
    assert (found["queries"], found["queries_reserved"], found["pairs"]) == (10, 10, 100)
    assert len(seen) == 10
    assert seen < {query_fingerprint(f"question number {number}") for number in range(20)}


def test_people_who_grade_on_another_scale_calibrate_relevance(tmp_path):
    """Binary human grades move P(relevant) of a graded judge; shares inside relevant and not relevant stay its own."""
    folder = Folder(tmp_path)
    logprobs, truth, query = simulate(40, 20, seed=5, sharpness=2.0, biases=(-2, -2, 1, 1))
    write_case(folder, logprobs, truth >= 2, query, human_scale=BINARY)
    fit(folder)
    calibration = Calibration.read(f"{folder.uri}/calibration/calibration.json")
    assert calibration.classes == ((0, 1), (2, 3))
    found, raw = calibration.probabilities(logprobs), np.exp(logprobs)
    assert found[:, 2:].sum(axis=1).mean() == pytest.approx(np.mean(truth >= 2), abs=0.01)
    assert found[:, 2] / found[:, 3] == pytest.approx(raw[:, 2] / raw[:, 3], rel=1e-6)


def test_queries_that_the_judge_was_trained_on_calibrate_nothing(tmp_path):
    """They are left out and counted; where nothing else is there, that is circular."""
    folder = Folder(tmp_path)
    about = {"judge_folder": (folder / "judge").uri}
    write_case(folder, *simulate(12, 10, seed=6), about=about)
    texts = [query_fingerprint(f"question number {number}") for number in range(12)]
    write_queries_seen(folder / "judge", texts[:4])
    found = fit(folder)
    assert found["queries"] == 8
    assert found["left_out"]["pairs_of_seen_queries"] == 40
    write_queries_seen(folder / "judge", texts)
    with pytest.raises(CircularEvidence, match="only queries that the judge was trained on"):
        fit(folder)


def test_too_few_queries_are_refused(tmp_path):
    """Three queries cannot be five folds; the message says what to change."""
    folder = Folder(tmp_path)
    write_case(folder, *simulate(6, 10, seed=7))
    with pytest.raises(
        InputError, match=r"3 queries to calibrate on, 3 reserved; wanted at least 5.*smaller --reserve"
    ):
        fit(folder, reserve=0.5)


@pytest.mark.data
def test_real_grades_are_predicted_better_after_calibration(shared_data, tmp_path):
    """On TREC DL 2019 the lexical judge is far too sure; cross-fitted, its log-loss and calibration error fall."""
    from relabel.prepare import PrepareConfig, prepare

    folder = Folder(tmp_path)
    dataset = {"dataset": str(shared_data / "trec_dl19"), "format": "beir", "label_source": "human"}
    scale = {"scale": {"grades": list(GRADED.grades), "relevant_from": 2}}
    prepare(PrepareConfig.load(dataset | scale, "test"), folder / "human", lambda line: None)
    judge = load_judge(JudgeConfig(engine="lexical"))
    writer = TableWriter(folder / "judged", "judgements", judge.scale)
    writer.write(judge.judge(read_whole(folder / "human", "pairs"), "pairs:0").judgements)
    writer.finish({"judge_id": judge.judge_id})
    measured = fit(folder)["measured"]
    chosen = min(measured, key=lambda name: measured[name]["log_loss"]["value"])
    assert measured[chosen]["log_loss_difference"]["high"] < -0.5
    assert measured[chosen]["calibration_error"]["value"] < measured["none"]["calibration_error"]["value"] / 2
