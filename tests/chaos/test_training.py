"""Training that loses a worker, a node or its checkpoint store: its weights are those of an undisturbed training."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import numpy as np
import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors.numpy import load

from relabel.storage import Folder
from tests.chaos.conftest import NODE_CPUS, add_node
from tests.chaos.scenes import Actors, Tally, meanwhile
from tests.train.encoders import tiny_encoder
from tests.train.tables import topic_pairs, write_labels
from train.checkpoints import newest
from train.reranker import RerankerConfig, train_reranker

WORKER = "RayTrainWorker"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos-training")
    tiny_encoder(folder / "encoder")
    write_labels(Folder(folder / "labels"), topic_pairs(queries=40, documents=8))
    return folder


@pytest.fixture(scope="module")
def undisturbed(cluster, place):
    out = Folder(place / "undisturbed")
    return out, trained(place, out)


def trained(place, out: Folder) -> dict:
    config = RerankerConfig(
        labels=str(place / "labels"),
        model=str(place / "encoder"),
        architecture="bi-encoder",
        loss="bce",
        group=4,
        batch=4,
        epochs=3,
        learning_rate=1e-3,
        max_length=32,
        threads=1,
        gpus=0,
        workers=2,
        dtype="float32",
        checkpoint_steps=5,
        dropout=0.1,
        validation_fraction=0.2,
        retries=3,
    )
    return train_reranker(config, out, lambda line: None)


def checkpoint(out: Folder, workers: Actors, step: int = 10) -> Callable[[], bool]:
    """Whether there is a checkpoint of that step, and both workers are at work."""

    def there() -> bool:
        state = newest(out / "checkpoints")
        return state is not None and state.step >= step and len(workers.now()) == 2

    return there


@pytest.mark.chaos(fault="training: worker killed", injected="SIGKILL to one of two workers after a checkpoint")
def test_killed_worker(cluster, place, undisturbed, tmp_path, tally):
    """Ray Train starts the workers again, which go on after the last checkpoint."""
    out, workers = Folder(tmp_path / "out"), Actors(WORKER)
    with meanwhile(checkpoint(out, workers), lambda: os.kill(workers.now()[0].pid, signal.SIGKILL)):
        record = trained(place, out)
    _same(tally, undisturbed, out, record, sessions=2)


@pytest.mark.chaos(
    fault="training: node lost", injected="SIGKILL to the raylet that holds a worker, after a checkpoint"
)
def test_lost_node(cluster, place, undisturbed, tmp_path, tally):
    """The workers start again where there is room."""
    out, workers = Folder(tmp_path / "out"), Actors(WORKER)
    head = ray.get_runtime_context().get_node_id()
    pinned = NodeAffinitySchedulingStrategy(head, soft=False)
    holder = ray.remote(num_cpus=NODE_CPUS, scheduling_strategy=pinned)(_Holder).remote()
    ray.get(holder.here.remote())

    def lose() -> None:
        raylet = workers.now()[0].ppid()
        [node] = [one for one in cluster.worker_nodes if one.all_processes["raylet"][0].process.pid == raylet]
        cluster.remove_node(node, allow_graceful=False)
        add_node(cluster)

    try:
        with meanwhile(checkpoint(out, workers), lose):
            record = trained(place, out)
    finally:
        ray.kill(holder)
    _same(tally, undisturbed, out, record, sessions=2)


@pytest.mark.chaos(
    fault="training: checkpoint store refuses once",
    injected="proxy, one put of a checkpoint's weights refused for good",
)
def test_store_that_refuses_once(cluster, faults, store, place, undisturbed, tally):
    """A checkpoint that could not be written does not exist; the workers start again after the one before."""
    left = [1]

    def refuse(method: str, path: str) -> str | None:
        if left[0] and method in ("PUT", "POST") and "step-00000015" in path and "weights" in path:
            left[0] -= 1
            return "expired"
        return None

    faults.rule = refuse
    record = trained(place, store / "out")
    assert faults.injected["expired"] == 1
    faults.quiet()
    _same(tally, undisturbed, store / "out", record, sessions=2)


@pytest.mark.chaos(
    fault="training: checkpoint store in trouble", injected="proxy, error 500 or reset for 5% of requests"
)
def test_store_in_trouble(cluster, faults, store, place, undisturbed, tally):
    """What passes by itself is tried again by the client: no worker notices."""
    faults.shares = {"internal-error": 0.03, "reset": 0.02}
    record = trained(place, store / "out")
    assert sum(faults.injected.values()) >= 3
    faults.quiet()
    _same(tally, undisturbed, store / "out", record, sessions=1)


class _Holder:
    """Keeps the head's CPUs, so that the workers run elsewhere."""

    def here(self) -> None:
        pass


def _same(tally: Tally, undisturbed: tuple[Folder, dict], out: Folder, record: dict, sessions: int) -> None:
    """Steps lost and doubled, then losses, validations and weights against those of the undisturbed training."""
    folder, reference = undisturbed
    steps, expected = ([point["step"] for point in one["losses"]] for one in (record, reference))
    tally.lost = len(set(expected) - set(steps))
    tally.doubled = len(steps) - len(set(steps))
    assert (tally.lost, tally.doubled) == (0, 0)
    assert record["sessions"] == sessions
    np.testing.assert_allclose(
        [point["loss"] for point in record["losses"]], [point["loss"] for point in reference["losses"]], atol=1e-6
    )
    one, other = (load(place.read_bytes("model/model.safetensors")) for place in (folder, out))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(other[name], one[name], atol=1e-6, err_msg=name)
