"""Settings of the vLLM engine that follow from the actor that holds it."""

import multiprocessing
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from relabel.engine import EngineConfig, EngineDead, engine_options, while_alive
from relabel.errors import ConfigError


@pytest.mark.parametrize(("gpus", "share"), [(0, 0.9), (0.25, 0.225), (1, 0.9), (2, 0.9)])
def test_actors_that_share_a_gpu_share_its_memory(gpus, share):
    """Four actors on a GPU take a quarter each of what one would."""
    options = engine_options(Path("m"), EngineConfig(num_gpus=gpus), "bfloat16", 128)
    assert options["gpu_memory_utilization"] == pytest.approx(share)


@pytest.mark.parametrize("num_gpus", [1, 0.5])
def test_a_model_over_several_gpus_gets_as_many(num_gpus):
    """`tensor_parallel_size` with fewer GPUs an actor would hang in the engine: refused when it is read."""
    with pytest.raises(ConfigError, match="num_gpus of at least 2: that many GPUs share one model"):
        EngineConfig.load({"tensor_parallel_size": 2, "num_gpus": num_gpus}, "recipe: judge")
    for fine in ({"num_gpus": 2}, {"num_gpus": 0}, {}):
        assert EngineConfig.load({"tensor_parallel_size": 2} | fine, "recipe: judge").tensor_parallel_size == 2


def test_an_engine_whose_process_was_killed_is_not_waited_for():
    """vLLM gives no answer then and raises nothing: the process is watched, and what killed it is said."""
    [killed, alive] = [multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,)) for _ in range(2)]
    try:
        for process in (killed, alive):
            process.start()
        with ThreadPoolExecutor(1) as thread:
            assert while_alive(thread.submit(lambda: time.sleep(1.5) or "an answer"), [killed, alive]) == "an answer"
        killed.kill()
        with pytest.raises(EngineDead, match=rf"{killed.name}, a process of the engine, ended with exit code -9"):
            while_alive(Future(), [alive, killed])
    finally:
        for process in (killed, alive):
            process.kill()
            process.join()
