"""Grades called by cuts of the expected grade: more quadratic κ than the median on queries that they have not seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from relabel.calibration.cuts import cut_class, fit_cuts
from relabel.calibration.fit import CalibrateConfig, calibrate
from relabel.calibration.record import Calibration
from relabel.errors import InputError
from relabel.storage import Folder
from relabel.tables import read_whole
from tests.relabel.calibration.cases import BINARY, simulate, write_case


def fitted(folder: Folder, **keys) -> tuple[dict, Calibration]:
    values = {"judgements": (folder / "judged").uri, "human": (folder / "human").uri, "resamples": 100}
    config = CalibrateConfig.load(values | keys, "test")
    facts = calibrate(config, folder / "calibration", lambda line: None)
    return facts, Calibration.read(f"{(folder / 'calibration').uri}/calibration.json")


def quadratic(truth, answer) -> float:
    return cohen_kappa_score(truth, answer, weights="quadratic")


def test_cuts_are_as_good_as_any_of_a_fine_grid():
    """Three cuts found one at a time reach what trying all pairs of two does, within a hundredth, by scikit-learn."""
    logprobs, truth, _ = simulate(20, 10, seed=4)
    expected, truth = np.exp(logprobs) @ np.arange(4), np.minimum(truth, 2)
    cuts = fit_cuts(expected, truth, 3)
    assert np.all(np.diff(cuts) >= 0)
    grid = np.quantile(expected, np.linspace(0.02, 1, 50))
    best = max(quadratic(truth, cut_class(expected, np.array([a, b]))) for a in grid for b in grid if a <= b)
    assert quadratic(truth, cut_class(expected, cuts)) >= best - 0.01


def test_called_by_cuts_agrees_better_and_says_how_much(tmp_path):
    """Probabilities stay those of the median's calibration, the id does not, and cross-fitted κ is what new queries
    show."""
    folder = Folder(tmp_path)
    write_case(folder, *simulate(60, 20, seed=1, sharpness=2.5, biases=(-2, 0, 1, 1)))
    _, median = fitted(folder)
    facts, cuts = fitted(folder, called="quadratic-kappa")
    assert cuts.calibrated_id != median.calibrated_id
    assert (median.cuts, len(cuts.cuts)) == (None, 3)
    before = facts["measured"][facts["method"]]["kappa_quadratic"]["value"]
    after = facts["called"]["kappa_quadratic"]
    assert after["value"] > before
    fresh = Folder(tmp_path / "fresh")
    write_case(fresh, *simulate(200, 20, seed=9, sharpness=2.5, biases=(-2, 0, 1, 1)))
    judged, people = read_whole(fresh / "judged", "judgements"), read_whole(fresh / "human", "pairs")
    ours, theirs = cuts.applied(judged), median.applied(judged)
    assert ours["probabilities"] == theirs["probabilities"]
    truth = people["label"].to_numpy().astype(int)
    assert quadratic(truth, ours["grade"].to_numpy()) > quadratic(truth, theirs["grade"].to_numpy())
    assert quadratic(truth, ours["grade"].to_numpy()) == pytest.approx(after["value"], abs=0.06)


@pytest.mark.parametrize("cuts", [[0.5, 1.5], [1.5, 0.5, 2.5], [0.5, 1.5, float("nan")]])
def test_cuts_that_do_not_fit_the_grades_are_refused(tmp_path, cuts):
    """One fewer than grades, ascending, numbers."""
    folder = Folder(tmp_path)
    write_case(folder, *simulate(20, 10, seed=1))
    fitted(folder, called="quadratic-kappa")
    path = tmp_path / "calibration" / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cuts": cuts}))
    with pytest.raises(InputError, match="wanted 3 ascending numbers"):
        Calibration.read(str(path))


def test_people_on_another_scale_are_refused(tmp_path):
    """Two human grades cannot say where four are cut."""
    folder = Folder(tmp_path)
    logprobs, truth, query = simulate(20, 10, seed=1)
    write_case(folder, logprobs, truth // 2, query, human_scale=BINARY)
    with pytest.raises(InputError, match="--called median"):
        fitted(folder, called="quadratic-kappa")
