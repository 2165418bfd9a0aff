"""Trackers of training curves: TensorBoard's event files on disk and S3; what is said where a library is missing."""

from __future__ import annotations

import pytest

from relabel.errors import ConfigError
from relabel.storage import Folder
from tests.train.event_files import scalars
from train import tracking
from train.config import TrainingConfig
from train.tracking import check_tracker, tracker


def test_event_files_hold_what_was_logged(tmp_path):
    """Numbers come back by name and step."""
    one = tracker("tensorboard", Folder(tmp_path), 0, {"batch": 8}, print)
    for step in (1, 2, 3):
        one.log(step, {"loss": 1 / step, "validation/AUC": 0.5})
    one.close()
    found = scalars(Folder(tmp_path / "tensorboard"))
    assert found["loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert found["validation/AUC"] == [(1, 0.5), (2, 0.5), (3, 0.5)]


@pytest.mark.integration
def test_event_files_reach_a_store_that_is_no_disk(s3, monkeypatch):
    """On S3 they are copied now and then, and at the end."""
    monkeypatch.setattr(tracking, "COPY_STEPS", 2)
    one = tracker("tensorboard", Folder(s3), 0, {}, print)
    one.log(1, {"loss": 4.0})
    one.log(2, {"loss": 2.0})
    assert scalars(Folder(s3) / "tensorboard")["loss"] == [(1, 4.0), (2, 2.0)]
    one.log(3, {"loss": 1.0})
    one.close()
    assert scalars(Folder(s3) / "tensorboard")["loss"] == [(1, 4.0), (2, 2.0), (3, 1.0)]


def test_nothing_is_tracked_unless_asked_for(tmp_path):
    """The default writes no file."""
    one = tracker(TrainingConfig().track, Folder(tmp_path), 0, {}, print)
    one.log(1, {"loss": 1.0})
    one.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", ["start", "log", "close"])
def test_a_tracker_that_fails_does_not_end_the_training(tmp_path, monkeypatch, fails):
    """A server that is away is told of once, without secrets, and is asked no more."""

    class Away(tracking.Nothing):
        asked = 0

        def __init__(self, *arguments):
            self._may_fail("start")

        def log(self, step, values):
            self._may_fail("log")

        def close(self):
            self._may_fail("close")

        def _may_fail(self, call):
            if fails == call:
                Away.asked += 1
                raise OSError("no answer from https://me:secret@tracking")

    monkeypatch.setitem(tracking.TRACKERS, "mlflow", (Away, "json", ""))
    said = []
    one = tracker("mlflow", Folder(tmp_path), 0, {}, said.append)
    for step in (1, 2):
        one.log(step, {"loss": 1.0})
    one.close()
    assert said == ["mlflow: OSError: no answer from https://***@tracking; the training goes on without it"]
    assert Away.asked == 1


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    """Before anything is trained, the message says which package it is."""
    monkeypatch.setattr(tracking, "find_spec", lambda module: None)
    with pytest.raises(ConfigError, match=r"track: found mlflow, and no module mlflow here.*'relabel\[mlflow\]'"):
        check_tracker("mlflow")
    check_tracker("none")
