"""Trainings counted and timed before there is one: the pairs of the real supervision, steps of the real engine."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from relabel.storage import Folder
from tests.relabel.language_models import tiny_model
from tests.train.encoders import tiny_encoder
from tests.train.tables import topic_pairs, write_pairs
from train.judge_config import JudgeTrainingConfig
from train.rehearsal import STEPS, judge_supervision, reranker_supervision, timed_steps
from train.reranker import RerankerConfig

QUERIES, DOCUMENTS = 20, 8


@pytest.fixture
def place(tmp_path):
    """A pairs table of 20 queries with 8 documents each, and a tiny encoder."""
    write_pairs(Folder(tmp_path / "pairs"), topic_pairs(queries=QUERIES, documents=DOCUMENTS))
    tiny_encoder(tmp_path / "encoder")
    return tmp_path


@pytest.fixture
def own_process(monkeypatch):
    """A process for one test, a worker on a CPU: DeepSpeed keeps to the first group that a process has."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        yield processes


def reranker(place, **changes) -> RerankerConfig:
    values = {
        "labels": "later",
        "model": str(place / "encoder"),
        "group": 4,
        "batch": 4,
        "max_length": 32,
        "loss": "bce",
    }
    return RerankerConfig(**values | {"epochs": 2, "checkpoint_steps": 3, "validation_fraction": 0} | changes)


def test_the_pairs_of_a_rerankers_training_are_counted(place):
    """Every labelled pair once an epoch in groups of four; each epoch of ten steps has four checkpoints."""
    found = reranker_supervision(reranker(place), Folder(place / "pairs"), Folder(place / "files"), every_label=True)
    assert found.trained == 2 * QUERIES * DOCUMENTS
    assert (found.validated, found.load) == (0, found.trained)
    assert [epoch.steps for epoch in found.epochs] == [10, 10]
    assert found.checkpoints == 8  # after 3, 6, 9, 10, 12, 15, 18 and 20 steps


def test_held_out_pairs_cost_a_third_each_time_they_are_validated(place):
    """Held-out queries are not trained on; they are scored before the first step and at each checkpoint."""
    config = reranker(place, validation_fraction=0.3)
    found = reranker_supervision(config, Folder(place / "pairs"), Folder(place / "files"), every_label=True)
    held = found.validated / (1 + found.checkpoints)
    assert held % DOCUMENTS == 0
    assert 0 < held < QUERIES * DOCUMENTS / 2
    assert found.trained <= 2 * (QUERIES * DOCUMENTS - held)
    assert found.load == pytest.approx(found.trained + found.validated / 3)


def test_the_pairs_of_a_judges_training_are_counted(place):
    """As many as the limit allows, in full batches, in each epoch; other queries of a document count as pairs."""
    model = str(tiny_model("llama", place / "llm"))
    values = {"pairs": str(place / "pairs"), "model": model, "max_document_tokens": 24, "batch": 8, "epochs": 3}
    config = JudgeTrainingConfig(**values, pairs_per_epoch=33, validation_fraction=0, balance="natural")
    assert judge_supervision(config, Folder(place / "one")).trained == 3 * 32
    more = config.model_copy(update={"other_queries": 2})
    assert judge_supervision(more, Folder(place / "two")).trained == 3 * 32 * 3


def test_timed_steps_are_steps_of_the_engine(place, own_process):
    """A few steps of full batches are done; the time they claim is not more than that which passed."""
    config = reranker(place)
    supervision = reranker_supervision(config, Folder(place / "pairs"), Folder(place / "files"), every_label=True)
    started = time.perf_counter()
    rates = own_process.submit(timed_steps, supervision, config, threads=1, gpus=0, seconds=60).result()
    passed = time.perf_counter() - started
    assert len(rates) == STEPS
    pairs = config.batch * config.group
    assert 0 < sum(pairs / rate for rate in rates) < passed
