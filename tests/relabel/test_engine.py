"""Settings of the vLLM engine that follow from the actor that holds it."""

from pathlib import Path

import pytest

from relabel.engine import EngineConfig, engine_options


@pytest.mark.parametrize(("gpus", "share"), [(0, 0.9), (0.25, 0.225), (1, 0.9), (2, 0.9)])
def test_actors_that_share_a_gpu_share_its_memory(gpus, share):
    """Four actors on a GPU take a quarter each of what one would."""
    options = engine_options(Path("m"), EngineConfig(num_gpus=gpus), "bfloat16", 128)
    assert options["gpu_memory_utilization"] == pytest.approx(share)
