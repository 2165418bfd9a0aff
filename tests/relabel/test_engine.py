"""Settings of the vLLM engine that follow from the actor that holds it."""

import multiprocessing
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from relabel.engine import (
    ENGINE_SPEED,
    ON_CPU,
    EngineConfig,
    EngineDead,
    check_blocks,
    engine_options,
    environment,
    settings_with_reasons,
    while_alive,
)
from relabel.errors import ConfigError
from relabel.generation import GenerateConfig
from relabel.heap import KEPT


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


def test_blocks_that_a_cpu_does_not_take_are_refused():
    """vLLM would fail with a traceback in the actor; what fits is said. A GPU takes blocks of 16."""
    with pytest.raises(ConfigError, match=r"block_size: found 48; wanted a multiple of 32.* set it to 64"):
        check_blocks(EngineConfig(num_gpus=0, block_size=48))
    for fine in ({"num_gpus": 0}, {"num_gpus": 0, "block_size": 64}, {"num_gpus": 1, "block_size": 16}):
        check_blocks(EngineConfig(**fine))


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


def test_settings_are_chosen_from_the_machine_and_say_why(monkeypatch):
    """What is printed is what the engine gets, and what was asked for is named as such."""
    monkeypatch.setattr("relabel.engine.cores", lambda: 16)
    monkeypatch.setattr("relabel.engine.memory_gib", lambda: 128)
    two = EngineConfig(num_gpus=0, actors=2)
    assert (environment(two)["OMP_NUM_THREADS"], environment(two)["VLLM_CPU_KVCACHE_SPACE"]) == ("8", "5")
    assert environment(two)["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environment(two).items() >= {**KEPT, "TORCHDYNAMO_DISABLE": "1"}.items()
    assert "TORCHDYNAMO_DISABLE" not in environment(EngineConfig(num_gpus=0, compiled=True))
    assert not environment(EngineConfig(num_gpus=0, tensor_parallel_size=2)).keys() & KEPT.keys()
    said = settings_with_reasons(two)
    assert said.startswith("8 thread(s) an actor (16 cores, 2 actor(s)), key-value cache ")
    assert "cache of 5 GiB (a twelfth of 128 GiB for 2 actor(s)), cache blocks of 32 tokens (only whole" in said
    one = EngineConfig(num_gpus=0, threads=2, kv_cache_gib=3, block_size=64)
    assert environment(one)["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    said = settings_with_reasons(one)
    assert said.startswith("2 thread(s) an actor (asked for), key-value cache of 3 GiB (asked for)")
    assert "cache blocks of 64 tokens (asked for), batches of at most 256 prompts and 8,192 tokens" in said
    assert environment(EngineConfig(num_gpus=1))["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    half = EngineConfig(num_gpus=0.5)
    assert engine_options(Path("m"), half, "bfloat16", 512)["gpu_memory_utilization"] == 0.45
    assert settings_with_reasons(half).startswith(
        "45% of a GPU's memory (0.9 × 0.5, the actor's part of it), 1 GPU(s) a "
    )
    assert settings_with_reasons(EngineConfig(num_gpus=1)).startswith("90% of a GPU's memory (0.9), 1 GPU(s) a model, ")


@pytest.mark.parametrize(
    ("config", "compiled", "why"),
    [
        (EngineConfig(num_gpus=1), False, "not compiled (full batches gain nothing by it)"),
        (EngineConfig(num_gpus=0), False, f"not compiled ({ON_CPU})"),
        (EngineConfig(num_gpus=0, compiled=True), True, ", compiled (asked for)"),
        (GenerateConfig(pairs="p", num_gpus=1), True, ", compiled (token after token)"),
        (GenerateConfig(pairs="p", num_gpus=1, compiled=False), False, "not compiled (asked for)"),
        (GenerateConfig(pairs="p", num_gpus=0), False, f"not compiled ({ON_CPU})"),
    ],
)
def test_only_writing_on_a_gpu_is_compiled(config, compiled, why):
    """Judging starts without compilation and CUDA graphs, which make it no faster; writing has a small step a token."""
    assert engine_options(Path("m"), config, "bfloat16", 128)["enforce_eager"] is not compiled
    assert settings_with_reasons(config).endswith(why)
    assert "compiled" in ENGINE_SPEED
