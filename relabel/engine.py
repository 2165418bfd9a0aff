"""One vLLM engine in an actor, for judging, classifying and writing queries: its settings, its environment, its calls.

Same calls on CPU and GPU. One call a shard; the prefix cache is emptied between calls, so that what a shard
gets is a function of the shard alone and a resumed run equals an undisturbed one exactly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from relabel.config import Config
from relabel.errors import ConfigError, in_short
from relabel.hardware import cores, has_gpu, memory_gib
from relabel.heap import KEPT, Heap

Runner = Literal["generate", "pooling"]
#: Characters of an engine's last words that are kept.
SAID = 300
#: Seconds between two looks at whether the engine's processes live.
PULSE = 1.0
#: Intel's OpenMP library, which the CPU environment installs.
OPENMP = Path(sys.prefix) / "lib" / "libiomp5.so"
#: Why nothing is compiled on CPU unless someone asks for it.
ON_CPU = "on a CPU it starts a minute later to be a tenth faster: for hours of work"
#: Tokens of which vLLM's attention on CPU takes whole multiples as a block of its cache.
CPU_BLOCK = 32


class EngineConfig(Config):
    """Settings of the engine and of the actors that hold it.

    Attributes:
        dtype: `auto` takes bfloat16 where the hardware computes in it, else float32; an encoder that judges: float32.
        shard_rows: rows a shard, the unit of work; null: chosen from engine and hardware, and printed.
        actors: actors with an engine each; a fixed pool, among which cores are divided on CPU. There a small judge is a
            little faster with an engine a core, whose threads do not wait for each other; but all of them start at once
            and each holds the model (docs/experiments.md).
        num_gpus: GPUs an actor; null: 1 × `tensor_parallel_size` where the cluster has GPUs, else 0.
        num_cpus: logical CPUs an actor reserves.
        threads: compute threads an actor on CPU; null: all cores divided by `actors`.
        tensor_parallel_size: GPUs that share one model.
        gpu_memory_utilization: share of a GPU's memory for model and cache.
        kv_cache_gib: key-value cache of an actor on CPU, GiB; null: a twelfth of the memory divided by `actors`.
        block_size: tokens a cache block; only whole blocks are shared between prompts. null: 16 on GPU, 32 on CPU,
            which takes multiples of 32 only.
        max_num_seqs, max_num_batched_tokens: engine's batch limits.
        compiled: whether vLLM compiles the model and captures CUDA graphs; null: for writing on GPUs alone, whose every
            token is a step too small to keep a GPU busy. Judging reads whole prompts in full batches: on an H100 it is
            no faster compiled, and starts a minute later. On CPU it needs a C++ compiler, is a tenth faster, and starts
            more than a minute later: for hours of work (docs/experiments.md).
    """

    #: Whether an engine with this configuration writes token after token.
    writes: ClassVar[bool] = False

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    shard_rows: int | None = Field(None, ge=1)
    actors: int = Field(1, ge=1)
    num_gpus: float | None = Field(None, ge=0)
    num_cpus: float = Field(1, ge=0)
    threads: int | None = Field(None, ge=1)
    tensor_parallel_size: int = Field(1, ge=1)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    kv_cache_gib: int | None = Field(None, ge=1)
    block_size: int | None = Field(None, ge=8)
    max_num_seqs: int = Field(256, ge=1)
    max_num_batched_tokens: int = Field(8192, ge=64)
    compiled: bool | None = None

    @model_validator(mode="after")
    def _one_model_fits_its_gpus(self) -> EngineConfig:
        if self.num_gpus and self.num_gpus < self.tensor_parallel_size > 1:
            raise ValueError(f"num_gpus of at least {self.tensor_parallel_size}: that many GPUs share one model")
        return self

    @property
    def on_gpu(self) -> bool:
        """Whether an actor computes on a GPU; asked of the machine only where `num_gpus` leaves it open."""
        return has_gpu() if self.num_gpus is None else self.num_gpus > 0

    @property
    def compute_threads(self) -> int:
        """Threads that an actor computes with on CPU."""
        return self.threads or max(1, cores() // self.actors)

    @property
    def cache_gib(self) -> int:
        """Key-value cache of an actor on CPU, GiB."""
        return self.kv_cache_gib or max(1, memory_gib() // (12 * self.actors))

    @property
    def cache_block(self) -> int:
        """Tokens a block of the key-value cache."""
        return self.block_size or (16 if self.on_gpu else CPU_BLOCK)

    @property
    def is_compiled(self) -> bool:
        """Whether vLLM compiles the model; asked of the machine only where `compiled` leaves it open."""
        return (self.writes and self.on_gpu) if self.compiled is None else self.compiled

    @property
    def keeps_heap(self) -> bool:
        """Whether freed memory stays with the engine's process (`relabel.heap`): on CPU, where it has no other process,
        whose heap nobody would look after."""
        return not self.on_gpu and self.tensor_parallel_size == 1

    @property
    def gpu_share(self) -> float:
        """Share of a GPU's memory for an engine; actors that share a GPU (`num_gpus` below 1) share its memory."""
        return self.gpu_memory_utilization * min(1.0, self.num_gpus or 1.0)


#: Fields that decide how fast an engine is and not what it says.
ENGINE_SPEED = frozenset(EngineConfig.model_fields) - {"dtype"}


def environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables that an engine's process needs before it imports vLLM (an actor's runtime_env)."""
    common = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        # In a process of its own the engine starts while prompts still arrive, and what shares a batch is chance.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    if config.on_gpu:
        # It is compiled when an engine starts first, and serves draws among the likeliest tokens: no judge draws.
        return common | {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
    common |= {
        "VLLM_CPU_KVCACHE_SPACE": str(config.cache_gib),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "OMP_NUM_THREADS": str(config.compute_threads),
        # Bound threads would be the actor's others, too, and what they start; vLLM binds in processes of its own alone.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    if not config.is_compiled:
        # vLLM would compile a function that counts ranks, which nobody asked for, in the midst of the first prompts.
        common["TORCHDYNAMO_DISABLE"] = "1"
    if OPENMP.exists():
        common["LD_PRELOAD"] = str(OPENMP)
    return common | KEPT if config.keeps_heap else common


def check_blocks(config: EngineConfig) -> None:
    """Raise ConfigError where the engine would take no cache blocks of that size, once its GPUs are settled."""
    if not config.on_gpu and config.cache_block % CPU_BLOCK:
        raise ConfigError(
            "block_size",
            str(config.cache_block),
            f"a multiple of {CPU_BLOCK}: vLLM's attention on CPU takes no other blocks",
            f"leave it out, or set it to {-(-config.cache_block // CPU_BLOCK) * CPU_BLOCK}",
        )


def settings_with_reasons(config: EngineConfig) -> str:
    """The settings of an engine of vLLM that were chosen or asked for, each with its reason, for the log."""
    batches = f"batches of at most {config.max_num_seqs} prompts and {config.max_num_batched_tokens:,} tokens"
    blocks = f"cache blocks of {config.cache_block} tokens ({_why(config.block_size, 'only whole ones are shared')})"
    if config.on_gpu:
        shared = (
            f" × {config.num_gpus:g}, the actor's part of it"
            if config.gpu_share < config.gpu_memory_utilization
            else ""
        )
        memory = f"{config.gpu_share:.0%} of a GPU's memory ({config.gpu_memory_utilization:g}{shared})"
        return f"{memory}, {config.tensor_parallel_size} GPU(s) a model, {blocks}, {batches}, {_compiling(config)}"
    reason = _why(config.threads, f"{cores()} cores, {config.actors} actor(s)")
    memory = _why(config.kv_cache_gib, f"a twelfth of {memory_gib()} GiB for {config.actors} actor(s)")
    return (
        f"{config.compute_threads} thread(s) an actor ({reason}), key-value cache of {config.cache_gib} GiB "
        f"({memory}), {blocks}, {batches}, {_compiling(config)}"
    )


def _compiling(config: EngineConfig) -> str:
    reason = ("token after token" if config.writes else "full batches gain nothing by it") if config.on_gpu else ON_CPU
    return f"{'' if config.is_compiled else 'not '}compiled ({_why(config.compiled, reason)})"


def _why(asked: object, reason: str) -> str:
    return reason if asked is None else "asked for"


class EngineDead(RuntimeError):
    """The engine can answer no more: its process must end, so that another starts."""


class Engine:
    """An engine of vLLM with one model, in a thread of its own.

    OpenMP's threads belong to the thread that calls for them; Ray Data makes an actor in one thread and calls it in
    another, which would get threads of its own.

    vLLM starts processes of its own (one for each GPU of `tensor_parallel_size`). Its `LLM` can wait for ever for the
    answer of one that was killed; so whoever waits for an answer here also watches the processes.

    Args:
        folder: local model folder (safetensors).
        longest: tokens of the longest prompt with its answer.
        runner: `generate` for a causal language model, `pooling` for a classification head.
    """

    def __init__(self, folder: Path, config: EngineConfig, dtype: str, longest: int, runner: Runner = "generate"):
        from vllm import LLM

        self._thread = ThreadPoolExecutor(1, "engine")
        self._engine = self._thread.submit(LLM, **engine_options(folder, config, dtype, longest, runner)).result()
        self._processes = active_children()
        self._heap = Heap(kept=config.keeps_heap)
        self._heap.start()

    def answers(self, prompts: list[list[int]], sampling: Any) -> list[Any]:
        """vLLM's output for each prompt, None where the engine refuses one (found by bisection).

        Args:
            prompts: token ids.
            sampling: vLLM's `SamplingParams`.

        Raises:
            EngineDead: where it died of them, or before.
        """

        def generate(some: list[list[int]]) -> list[Any]:
            inputs = [{"prompt_token_ids": prompt} for prompt in some]
            return [output.outputs[0] for output in self._engine.generate(inputs, sampling, use_tqdm=False)]

        return self._answered(generate, prompts)

    def logits(self, prompts: list[tuple[list[int], int | None]]) -> list[Any]:
        """The outputs of a classification head for each prompt before any activation: a float tensor [outputs] on the
        CPU, or None where the engine refuses the prompt. Raises as `answers`.

        Args:
            prompts: token ids, and where the second segment begins for a model that tells segments apart, else None.
        """
        from vllm import PoolingParams

        def classify(some: list[tuple[list[int], int | None]]) -> list[Any]:
            inputs = [{"prompt_token_ids": ids} for ids, _ in some]
            pooling = [
                PoolingParams(
                    use_activation=False,
                    extra_kwargs=None if second is None else {"compressed_token_type_ids": second},
                )
                for _, second in some
            ]
            found = self._engine.encode(inputs, pooling_params=pooling, pooling_task="classify", use_tqdm=False)
            return [output.outputs.data for output in found]

        return self._answered(classify, prompts)

    @property
    def classifies(self) -> bool:
        """Whether the engine's model has a classification head that it serves."""
        return "classify" in self._engine.supported_tasks

    def _answered(self, call: Callable[[list], list[Any]], prompts: list) -> list[Any]:
        return while_alive(self._thread.submit(self._afresh, call, prompts), self._processes)

    def _afresh(self, call: Callable[[list], list[Any]], prompts: list) -> list[Any]:
        try:
            emptied = self._engine.reset_prefix_cache()
        except Exception as error:
            raise EngineDead(in_short(error, SAID)) from error
        if not emptied:
            raise RuntimeError("vLLM kept its prefix cache: this shard would depend on the one before")
        answers = _bisected(call, prompts) if prompts else []
        self._heap.after_step()
        return answers


def while_alive(answer: Future, processes: list[BaseProcess]) -> Any:
    """The answer, or EngineDead as soon as one of the processes that it is waited for has ended."""
    while not wait([answer], PULSE).done:
        if ended := [process for process in processes if not process.is_alive()]:
            raise EngineDead(f"{ended[0].name}, a process of the engine, ended with exit code {ended[0].exitcode}")
    return answer.result()


def _bisected(call: Callable[[list], list[Any]], prompts: list) -> list[Any]:
    """What `call` gives for each prompt, None for those that it refuses.

    vLLM refuses a prompt by ValueError before anything runs. After any other error an engine is not to be trusted: one
    in its own process is gone, one in ours keeps half-done requests, one on a GPU may have lost the device.
    """
    try:
        return call(prompts)
    except ValueError:
        if len(prompts) == 1:
            return [None]
        half = len(prompts) // 2
        return _bisected(call, prompts[:half]) + _bisected(call, prompts[half:])
    except Exception as error:
        raise EngineDead(in_short(error, SAID)) from error


def engine_options(
    folder: Path, config: EngineConfig, dtype: str, longest: int, runner: Runner = "generate"
) -> dict[str, Any]:
    """Arguments of `vllm.LLM`, chosen from configuration and hardware."""
    return {
        "model": str(folder),
        "dtype": dtype,
        "max_model_len": longest,
        "max_num_seqs": config.max_num_seqs,
        "max_num_batched_tokens": max(config.max_num_batched_tokens, longest),
        "block_size": config.cache_block,
        "runner": runner,
        "enable_prefix_caching": True if runner == "generate" else None,  # null: where the model reads left to right
        "trust_remote_code": False,
        "load_format": "safetensors",
        "hf_overrides": {"head_dtype": "float32"},  # bfloat16 logits near 16 have steps of 0.125, which ties grades
        "tensor_parallel_size": config.tensor_parallel_size,
        "gpu_memory_utilization": config.gpu_share,
        "enforce_eager": not config.is_compiled,
        "disable_log_stats": True,
        "seed": 0,
    }
