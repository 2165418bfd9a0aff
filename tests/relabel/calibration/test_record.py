"""`calibration.json`: read as untrusted input, applied to its own judge alone, part of the judge's id."""

from __future__ import annotations

import json

import numpy as np
import pytest

from relabel.calibration.median import median_class
from relabel.calibration.record import Calibration
from relabel.calibration.temperature import Temperature
from relabel.errors import InputError
from relabel.judges import JudgeConfig, load_judge
from relabel.judges.identity import judge_id, raw_judge_id
from relabel.storage import Folder
from tests.relabel.calibration.cases import GRADED

LEXICAL = JudgeConfig(engine="lexical")
CLASSES = ((0,), (1,), (2,), (3,))


@pytest.fixture
def address(tmp_path) -> str:
    """A calibration of the lexical judge, on disk."""
    Calibration(Temperature(temperature=2.0), raw_judge_id(LEXICAL, "none"), GRADED, CLASSES).write(Folder(tmp_path))
    return f"{tmp_path}/calibration.json"


def _edit(address: str, change) -> None:
    with open(address) as stream:
        values = json.load(stream)
    change(values)
    with open(address, "w") as stream:
        json.dump(values, stream)


def test_a_calibrated_judge_keeps_the_raw_log_probabilities(address, make_pairs):
    """Log-probabilities are the engine's; probabilities, score, grade and judge id follow the calibration."""
    pairs = make_pairs(
        [("q", "a", "red wine", "red wine", 1), ("q", "b", "red wine", "red", 1), ("q", "c", "red", "x", 0)]
    )
    raw = load_judge(LEXICAL).judge(pairs, "x:0").judgements
    config = LEXICAL.model_copy(update={"calibration": address})
    judge = load_judge(config)
    found = judge.judge(pairs, "x:0").judgements
    assert judge.judge_id == judge_id(config, "none") != raw_judge_id(config, "none")
    assert set(found["judge_id"].to_pylist()) == {judge.judge_id}
    assert found["logprobs"].equals(raw["logprobs"])
    before, after = (np.array(table["probabilities"].to_pylist()) for table in (raw, found))
    halved = np.sqrt(before)
    assert after == pytest.approx(halved / halved.sum(axis=1, keepdims=True), abs=1e-5)
    assert found["score"].to_numpy() == pytest.approx(after @ np.arange(4), abs=1e-5)
    assert found["grade"].to_pylist() == [3, 1, 0]
    assert found.schema == raw.schema


def test_the_id_covers_the_content_of_the_calibration(address):
    """Other parameters are another judge; other notes about the fit are not."""
    first = judge_id(LEXICAL.model_copy(update={"calibration": address}), "none")
    calibration = Calibration.read(address)
    folder = Folder(address.rpartition("/")[0])
    Calibration(calibration.method, calibration.judge_id, GRADED, CLASSES, {"pairs": 5}).write(folder)
    assert judge_id(LEXICAL.model_copy(update={"calibration": address}), "none") == first
    Calibration(Temperature(temperature=2.5), calibration.judge_id, GRADED, CLASSES).write(folder)
    assert judge_id(LEXICAL.model_copy(update={"calibration": address}), "none") != first


def test_a_calibration_of_another_judge_is_refused(address):
    """Neither the id is given nor the judge loaded, and the message names both judges."""
    other = JudgeConfig(engine="lexical", prompt="binary", calibration=address)
    words = r"found the judge lexical-\w+; wanted the judge that the calibration was fitted for, lexical-\w+"
    with pytest.raises(InputError, match=words):
        judge_id(other, "none")
    with pytest.raises(InputError, match=words):
        load_judge(other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.update(version=2), "version 2; wanted version 1"),
        (lambda values: values.update(method="magic"), "the unknown method 'magic'; wanted one of none, temperature"),
        (lambda values: values["parameters"].update(temperature=float("nan")), "temperature: found nan"),
        (lambda values: values["parameters"].update(heat=1), "the unknown key 'heat'"),
        (lambda values: values["parameters"].update(temperature=3.0), "content that does not have its hash"),
        (lambda values: values.update(classes=[[0], [1]]), "parameters for other classes"),
        (lambda values: values.pop("judge_id"), "a calibration that cannot be read"),
        (lambda values: values.update(judge_scale={"grades": [1], "relevant_from": 1}), "grades .1."),
        (
            lambda values: values.update(method="temperature-bias", parameters={"sharpness": 1, "biases": [0, 0]}),
            "parameters for other classes",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(address, change, words):
    """Version, method, parameters, classes, scale and hash are checked when it is read."""
    _edit(address, change)
    with pytest.raises(InputError, match=words):
        Calibration.read(address)


def test_a_missing_calibration_is_named(tmp_path):
    """The address is in the error."""
    with pytest.raises(InputError, match=r"nowhere/calibration\.json"):
        Calibration.read(f"{tmp_path}/nowhere/calibration.json")


def test_the_median_grade():
    """The lowest grade that half of the probability lies at or below; a tie of halves takes the lower."""
    found = median_class(np.array([[0.4, 0.0, 0.3, 0.3], [0.5, 0.5, 0, 0], [0.1, 0.2, 0.2, 0.5], [0, 0, 0, 1.0]]))
    assert found.tolist() == [2, 0, 2, 3]
