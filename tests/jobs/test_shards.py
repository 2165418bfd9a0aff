"""The carrier of shards: errors reach the person who can act on them."""

from __future__ import annotations

import gc
import time

import pyarrow as pa
import pytest
import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.exceptions import ExecutionTimeoutError

from jobs.shards import WORKER_DEATHS, Stage, _cause, _pipeline, _Worker, run_stage
from relabel.errors import InputError, RelabelError
from relabel.ledger import Plan, Segment, Shard
from relabel.storage import Folder
from tests.chaos.scenes import Actors, wait_for
from tests.jobs.stage_runs import write_pairs


def test_a_worker_that_cannot_be_made_says_why_at_its_first_shard():
    """Ray keeps only text of a failing constructor, so the error of ours is kept for the first call."""

    def make():
        raise InputError("model m", "nothing", "a model", "copy it to every node")

    worker = _Worker("judge", make, {}, Folder("unused"), 1)
    with pytest.raises(InputError, match="Next: copy it to every node"):
        worker(pa.table({}))


def test_a_shard_that_ends_its_worker_each_time_is_an_error_to_act_on():
    """Ray's error about a dead actor becomes one that names the stage and what to type."""
    error = _cause(ray.exceptions.RayActorError(), "judge")
    assert isinstance(error, RelabelError)
    assert f"judge: found a worker that ended on the same shard {WORKER_DEATHS + 1} times" in str(error)
    assert "Next: run the same command again" in str(error)


def test_a_worker_that_cannot_start_is_told_from_one_that_ended():
    """Its last words hold the reason: Ray's message begins with where it was made."""
    cause = ray.exceptions.RayTaskError(
        "__init__", "Traceback\n" * 100 + "OutOfMemoryError: no room for the cache", "x"
    )
    cause._actor_id = "a1"
    error = _cause(ray.exceptions.ActorDiedError(cause), "judge")
    assert isinstance(error, RelabelError)
    assert "judge: found workers that could not start (" in str(error)
    assert "OutOfMemoryError: no room for the cache" in str(error)
    assert "times" not in str(error)


def test_a_day_without_a_shard_is_an_error_to_act_on():
    """Ray Data gives up by a class that is none of Ray's errors; a person is told what to look at."""
    error = _cause(ExecutionTimeoutError("no progress"), "judge")
    assert isinstance(error, RelabelError)
    assert "judge: found no shard for 24 h" in str(error)
    assert "ray status" in str(error)


def test_our_own_error_is_found_inside_rays():
    """The cause of Ray's wrapper is what is raised; an error that nobody knows stays as it is."""
    own = InputError("pairs", "x", "y")
    wrapped = ray.exceptions.RayTaskError("judge", "traceback", own)
    assert _cause(wrapped, "judge") is own
    assert _cause(wrapped.as_instanceof_cause(), "judge") is own
    unknown = ValueError("?")
    assert _cause(unknown, "judge") is unknown


@pytest.mark.integration
@pytest.mark.parametrize("gpus", [0, 0.5, 1])
def test_workers_get_whole_shards_whatever_they_compute_on(ray_session, tmp_path, gpus):
    """Ray Data wants a batch size of a stage that has GPUs, which would put parts of shards together: not of ours."""
    shard = Shard(0, (Segment("part-00000.parquet", 0, 4),))
    plan = Plan(tmp_path.as_uri(), {"part-00000.parquet": "1-a"}, {"part-00000.parquet": 4}, "task", 4)
    stage = Stage("judge", "judgements", "task", dict, {}, 4, None, {}, lambda markers: {}, num_gpus=gpus)
    folder = Folder(str(tmp_path))
    pipeline = _pipeline(stage, plan, [shard], folder, folder, dict)
    logical = pipeline._logical_plan.dag.input_dependencies[0]
    assert logical.name == "MapBatches(_Worker)"
    assert logical.ray_remote_args["num_gpus"] == gpus
    assert logical.batch_size is None


class _Refuses:
    """A worker that ends its stage."""

    def __call__(self, pairs: pa.Table, shard: Shard) -> None:
        raise InputError("pairs", "x", "y")


@pytest.mark.integration
def test_a_failed_stage_frees_its_actors(ray_session, make_pairs, tmp_path):
    """The next stage of this process gets what they reserved, though Python looks for no circles meanwhile."""
    pairs = Folder(tmp_path / "pairs")
    write_pairs(pairs, make_pairs([(f"q{row}", f"d{row}", "what", "a text", 1) for row in range(8)]))
    stage = Stage("judge", "judgements", "task", _Refuses, {}, 2, None, {}, lambda markers: {}, actors=2)
    actors = Actors()
    gc.disable()
    try:
        for attempt in range(3):
            with pytest.raises(InputError, match="pairs: found x"):
                run_stage(stage, pairs, Folder(tmp_path / f"out-{attempt}"), lambda line: None)
        wait_for(lambda: not actors.now(), "the end of the actors", 30)
    finally:
        gc.enable()


class _Slow:
    """A worker that takes long for a shard, and returns its rows."""

    def __call__(self, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict]:
        time.sleep(8)
        return pairs, pairs.slice(0, 0), {}


class _Looks(ExecutionCallback):
    """Counts the looks of Ray Data's loop."""

    count = 0

    def on_execution_step(self, executor) -> None:
        _Looks.count += 1


@pytest.mark.integration
def test_the_drivers_loop_sleeps_while_no_shard_comes(ray_session, make_pairs, tmp_path, monkeypatch):
    """Looks that find nothing take time from the engines: Ray Data alone would look seven times a second or more."""
    context = ray.data.DataContext.get_current()
    classes = [*context.custom_execution_callback_classes, _Looks]
    monkeypatch.setattr(context, "custom_execution_callback_classes", classes)
    pairs, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(pairs, make_pairs([(f"q{row}", f"d{row}", "what", "a text", 1) for row in range(4)]))
    stage = Stage("judge", "pairs", "task", _Slow, {}, 2, None, {}, lambda markers: {})
    begun = time.monotonic()
    assert run_stage(stage, pairs, out, lambda line: None).rows == 4
    assert 10 < _Looks.count < 4 * (time.monotonic() - begun)
