"""The carrier of shards: errors reach the person who can act on them."""

from __future__ import annotations

import pyarrow as pa
import pytest
import ray

from jobs.shards import WORKER_DEATHS, Stage, _cause, _pipeline, _Worker
from relabel.errors import InputError, RelabelError
from relabel.ledger import Plan, Segment, Shard
from relabel.storage import Folder


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
    pipeline = _pipeline(stage, plan, [shard], folder, folder)
    logical = pipeline._logical_plan.dag.input_dependencies[0]
    assert logical.name == "MapBatches(_Worker)"
    assert logical.ray_remote_args["num_gpus"] == gpus
    assert logical.batch_size is None
