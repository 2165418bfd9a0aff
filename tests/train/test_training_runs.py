"""Whole trainings under Ray Train and DeepSpeed: workers, kill and resume, S3, other world size, judge and re-ranker.

One uninterrupted training on one worker is the reference. The others (two workers, ZeRO 2, checkpoints on S3, killed
with SIGKILL and started again) must take the same steps.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

import numpy as np
import psutil
import pytest

from relabel.errors import RelabelError
from relabel.lineage import query_fingerprint, read_queries_seen, write_queries_seen
from relabel.scoring import architecture, score_texts
from relabel.storage import Folder
from tests.relabel.language_models import tiny_model
from tests.train.encoders import tiny_encoder
from tests.train.event_files import scalars
from tests.train.tables import topic_pairs, write_labels, write_pairs
from train import shuffle
from train.checkpoints import download, newest
from train.judge import train_judge
from train.judge_config import JudgeTrainingConfig
from train.rehearsal import judge_supervision
from train.reranker import RerankerConfig, train_reranker

pytestmark = pytest.mark.integration

ROWS = topic_pairs(queries=40, documents=8)
QUERIES = ["apple number 1", "river number 2", "stone number 3"]
DOCUMENTS = ["apple stone apple.", "snow tree.", "stone stone paper."]


@pytest.fixture(scope="module", autouse=True)
def small_files():
    """Training files of a few rows, so that an epoch is read from several files in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffle, "WINDOW_BATCHES", 3)
        patch.setattr(shuffle, "FILE_ROWS", 8)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny encoder, a labels table whose judge and calibration have seen a query each, and pairs."""
    folder = tmp_path_factory.mktemp("training")
    tiny_encoder(folder / "encoder")
    write_queries_seen(Folder(folder / "judge"), ["feedfeedfeedfeed"])
    write_queries_seen(Folder(folder / "calibration"), ["beefbeefbeefbeef"])
    about = {"judge_folder": str(folder / "judge"), "selected_on": [str(folder / "calibration")]}
    write_labels(Folder(folder / "labels"), ROWS, {"judge_id": "j1"} | about)
    write_pairs(Folder(folder / "pairs"), ROWS)
    return folder


def settings(place, **changes) -> RerankerConfig:
    values = {
        "labels": str(place / "labels"),
        "model": str(place / "encoder"),
        "architecture": "bi-encoder",
        "loss": "bce",
        "group": 4,
        "batch": 4,
        "epochs": 2,
        "learning_rate": 1e-3,
        "max_length": 32,
        "threads": 1,
        "dtype": "float32",
        "checkpoint_steps": 3,
        "dropout": 0.1,
        "validation_fraction": 0.2,
    }
    return RerankerConfig(**values | changes)


@pytest.fixture(scope="module")
def reference(place, ray_session):
    """The uninterrupted training on one worker: its folder, record and log."""
    log: list[str] = []
    out = Folder(place / "reference")
    return out, train_reranker(settings(place, dropout=0.0, track="tensorboard"), out, log.append), log


def losses(record: dict) -> list[float]:
    return [point["loss"] for point in record["losses"]]


def scores(out: Folder) -> np.ndarray:
    return score_texts(f"{out.uri}/model", QUERIES, DOCUMENTS, dtype="float32")


def killed_after_a_checkpoint(config: RerankerConfig, out: Folder) -> int:
    """Start a training, kill -9 its workers once it has checkpoints, and return the newest checkpoint's step."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            train_reranker(config, out, lambda line: None)
        except RelabelError as error:
            failures.append(error)

    training = threading.Thread(target=run)
    training.start()
    end = time.monotonic() + 300
    while (state := newest(out / "checkpoints")) is None or state.step < 6:
        assert training.is_alive(), failures
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.02)
    workers = [one for one in psutil.Process().children(recursive=True) if "RayTrainWorker" in "".join(one.cmdline())]
    assert len(workers) == config.workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    training.join(120)
    assert not training.is_alive()
    assert failures, "the training ended before it was killed"
    assert "run the same command again" in str(failures[0])
    return newest(out / "checkpoints").step


@pytest.fixture(scope="module")
def killed(place, reference, s3_environment):
    """A two-worker ZeRO-2 training with checkpoints on S3, killed; a local copy of its folder as it was then."""
    out = Folder(f"s3://{s3_environment.bucket}/killed-training")
    config = settings(place, dropout=0.0, workers=2, zero_stage=2)
    step = killed_after_a_checkpoint(config, out)
    copy = place / "copy"
    copy.mkdir()
    download(out, copy)
    return out, config, step, Folder(copy)


def test_learns_validates_and_records(reference, place):
    """The model ranks held-out queries better than before, the best step is exported, the record says what happened."""
    out, record, log = reference
    curve = {point["step"]: point["nDCG@10"] for point in record["validations"]}
    assert record["best_score"] == max(score for step, score in curve.items() if step)
    assert record["best_score"] > curve[0]
    assert curve[record["best_step"]] == record["best_score"]
    assert len(losses(record)) == record["steps"] > 12
    assert losses(record)[-1] < losses(record)[0]
    assert min(point["seconds"] for point in record["losses"]) > 0
    assert sum(point["seconds"] for point in record["losses"]) == pytest.approx(record["seconds"], abs=0.05)
    assert (record["kind"], record["device"], record["dtype"], record["sessions"]) == ("reranker", "cpu", "float32", 1)
    assert any("device cpu (no GPU was given to this worker)" in line for line in log)
    assert any("pairs/s" in line and "left" in line for line in log)
    assert architecture(place / "reference" / "model") == "bi-encoder"
    assert not out.exists("checkpoints")
    assert not out.exists("supervision")


def test_the_tracker_was_told_every_step_and_validation(reference):
    """TensorBoard's event file has the losses of the record, step by step, and its validations."""
    out, record, _ = reference
    found = scalars(out / "tensorboard")
    assert [step for step, _ in found["loss"]] == list(range(1, record["steps"] + 1))
    assert [value for _, value in found["loss"]] == pytest.approx(losses(record), rel=1e-5)
    curve = [(point["step"], pytest.approx(point["nDCG@10"], rel=1e-5)) for point in record["validations"]]
    assert found["validation/nDCG_10"] == curve
    assert max(value for _, value in found["learning_rate_share"]) == 1


def test_queries_seen_include_the_judges(reference):
    """The lineage holds all queries of the labels, and those that the judge and its calibration have seen."""
    out, record, _ = reference
    inherited = {"feedfeedfeedfeed", "beefbeefbeefbeef"}
    assert read_queries_seen(out) == {query_fingerprint(row["query"]) for row in ROWS} | inherited
    assert record["judge_id"] == "j1"
    assert record["queries_inherited_from_judge"] == 2


def test_killed_training_goes_on_with_the_same_batches(killed, reference):
    """Killed and started again, on S3, with two workers and ZeRO 2: the losses and the model of one unbroken run."""
    out, config, step, _ = killed
    log: list[str] = []
    record = train_reranker(config, out, log.append)
    assert any(line.startswith(f"resumed after step {step} of") for line in log), log
    assert record["sessions"] == 2
    np.testing.assert_allclose(losses(record), losses(reference[1]), rtol=2e-3)
    assert losses(record)[-1] == pytest.approx(losses(reference[1])[-1], rel=1e-3)
    assert record["best_step"] == reference[1]["best_step"]
    np.testing.assert_allclose(scores(out), scores(reference[0]), atol=2e-3)


def test_other_number_of_workers(killed, reference, place):
    """Resumed with another number of workers: weights are kept, the optimizer starts anew, and the log says so."""
    _, config, step, copy = killed
    log: list[str] = []
    record = train_reranker(config.model_copy(update={"workers": 1, "zero_stage": 1}), copy, log.append)
    said = (
        f"the checkpoint of step {step} was written by 2 worker(s), ZeRO 2, float32; this run has 1 worker(s), ZeRO 0"
    )
    assert any(line.startswith(said) and "the optimizer starts anew" in line for line in log), log
    assert record["steps"] == reference[1]["steps"]
    np.testing.assert_allclose(losses(record)[: step + 1], losses(reference[1])[: step + 1], rtol=2e-3)


def test_finished_training_starts_nothing(reference, place):
    """The same command on a finished folder returns the record without starting a worker."""
    log: list[str] = []
    assert train_reranker(settings(place, dropout=0.0), reference[0], log.append) == reference[1]
    assert log == [f"{reference[0].uri}: finished before, nothing to do"]


def test_diverging_training_stops(place, ray_session):
    """A loss that is no number stops the run with the step and what to change; no model is exported."""
    out = Folder(place / "diverging")
    with pytest.raises(RelabelError, match=r"step \d+: found a loss of nan.* set a lower learning_rate"):
        train_reranker(settings(place, learning_rate=1e30, loss="ranknet"), out, lambda line: None)
    assert not out.exists("model")
    assert not out.exists("training.json")


@pytest.mark.long
def test_training_stops_early(place, ray_session):
    """Where two validations in a row bring nothing better, training ends there and the best step is exported."""
    log: list[str] = []
    config = settings(place, dropout=0.0, learning_rate=1e-12, checkpoint_steps=1, patience=2)
    record = train_reranker(config, Folder(place / "early"), log.append)
    assert (record["steps"], record["best_step"]) == (3, 1)
    assert any(line.startswith("stopped early at step 3 of") and "than step 1" in line for line in log), log
    assert (place / "early" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "zero_stage"), [pytest.param("full", 1, marks=pytest.mark.long), ("lora", 3)], ids=["full", "lora"]
)
def test_judge(place, ray_session, method, zero_stage):
    """A judge trains full (ZeRO 1) and as an adapter (ZeRO 3), and leaves what vLLM and transformers load."""
    from transformers import AutoModelForCausalLM

    model = tiny_model("llama", place / f"llm-{method}")
    out = Folder(place / f"judge-{method}")
    config = JudgeTrainingConfig(
        pairs=str(place / "pairs"),
        model=str(model),
        method=method,
        zero_stage=zero_stage,
        max_document_tokens=24,
        max_query_tokens=16,
        pairs_per_epoch=64,
        batch=16,
        micro_batch=8,
        epochs=3,
        learning_rate=2e-3,
        threads=1,
        dtype="float32" if method == "full" else "bfloat16",
    )
    record = train_judge(config, out, lambda line: None)
    assert record["kind"] == "judge"
    planned = judge_supervision(config, Folder(place / f"planned-{method}"))
    assert planned.trained == record["pairs_trained"]
    assert planned.checkpoints + 1 == len(record["validations"])
    first, last = record["validations"][0], record["validations"][-1]
    assert last["off-grade mass"] < first["off-grade mass"], (losses(record), record["validations"])
    assert {"AUC", "accuracy", "cross-entropy", "off-grade mass"} < set(record["validations"][-1])
    assert read_queries_seen(out) == {query_fingerprint(row["query"]) for row in ROWS}
    merged = AutoModelForCausalLM.from_pretrained(f"{out.uri}/merged")
    assert str(merged.dtype) == f"torch.{config.dtype}"
    assert out.exists("adapter/adapter_model.safetensors") == (method == "lora")


def test_real_encoder_as_cross_encoder(place, ray_session):
    """all-MiniLM-L6-v2 becomes a cross-encoder that ranks better than its untrained head, in the chosen dtype."""
    model = "all-minilm-l6-v2"
    out = Folder(place / "minilm")
    config = settings(
        place, model=model, architecture="cross-encoder", loss="lce", epochs=1, learning_rate=None, dtype="auto"
    ).model_copy(update={"threads": None, "batch": 8, "max_length": 48, "checkpoint_steps": 50})
    record = train_reranker(config, out, lambda line: None)
    assert record["best_score"] > record["validations"][0]["nDCG@10"]
    assert architecture(place / "minilm" / "model") == "cross-encoder"
    found = scores(out)
    assert found[0] > found[1]


@pytest.fixture(scope="module", autouse=True)
def room(place):
    """The folders are removed at the end: they hold models."""
    yield
    shutil.rmtree(place, ignore_errors=True)
