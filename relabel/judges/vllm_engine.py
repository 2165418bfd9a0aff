"""vLLM as a scorer: one prompt in, log-probabilities of the grade tokens out. Same calls on CPU and GPU.

One `generate` call a shard with `max_tokens=1` and `logprob_token_ids`; the prefix cache is emptied between shards,
so that a shard's judgements are a function of the shard alone and a resumed run equals an undisturbed one exactly.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from relabel.hardware import compute_dtype, cores
from relabel.judges.base import PromptedJudge
from relabel.judges.config import JudgeConfig, judge_id
from relabel.models import local_model
from relabel.prompts import asked
from relabel.prompts.encoding import PromptEncoder


def environment(config: JudgeConfig) -> dict[str, str]:
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
        return common
    threads = config.threads or max(1, cores() // config.actors)
    common |= {
        "VLLM_CPU_KVCACHE_SPACE": str(config.kv_cache_gib),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_ARENA_MAX": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    if config.actors == 1:
        bound = sorted(os.sched_getaffinity(0))[:threads]
        common["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, bound))
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    if openmp.exists():
        common["LD_PRELOAD"] = str(openmp)
    return common


class VllmScorer:
    """An engine of vLLM with one model, in a thread of its own.

    On CPU vLLM binds the OpenMP threads of the thread that makes the engine; Ray Data makes an actor in one thread and
    calls it in another, for which that binding was not made.

    Args:
        folder: local model folder (safetensors).
        label_token_ids: grade tokens, at most 128.
        max_prompt_tokens: longest prompt that will be given.
    """

    def __init__(
        self, folder: Path, config: JudgeConfig, dtype: str, label_token_ids: list[int], max_prompt_tokens: int
    ):
        from vllm import LLM, SamplingParams

        self._thread = ThreadPoolExecutor(1, "engine")
        options = engine_options(folder, config, dtype, max_prompt_tokens)
        self._engine = self._thread.submit(LLM, **options).result()
        self._labels = label_token_ids
        self._sampling = SamplingParams(
            max_tokens=1, temperature=0, logprob_token_ids=label_token_ids, detokenize=False
        )

    def label_logprobs(self, prompts: list[list[int]]) -> np.ndarray:
        """See `LabelScorer`. A prompt that the engine refuses is found by bisection and gets NaN; a dead engine ends
        the process, so that Ray starts another actor."""
        return self._thread.submit(self._scored_afresh, prompts).result()

    def _scored_afresh(self, prompts: list[list[int]]) -> np.ndarray:
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("vLLM kept its prefix cache: this shard's judgements would depend on the one before")
        return self._scored(prompts)

    def _scored(self, prompts: list[list[int]]) -> np.ndarray:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            outputs = self._engine.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts], self._sampling, use_tqdm=False
            )
        except EngineDeadError:
            print("the engine is dead; this actor ends so that another starts", file=sys.stderr, flush=True)
            os._exit(17)
        except ValueError:
            if len(prompts) == 1:
                return np.full((1, len(self._labels)), np.nan, np.float32)
            half = len(prompts) // 2
            return np.concatenate([self._scored(prompts[:half]), self._scored(prompts[half:])])
        return np.array([self._of(output) for output in outputs], np.float32).reshape(len(prompts), -1)

    def _of(self, output: Any) -> list[float]:
        logprobs = output.outputs[0].logprobs[0]
        return [logprobs[token].logprob for token in self._labels]


def engine_options(folder: Path, config: JudgeConfig, dtype: str, max_prompt_tokens: int) -> dict[str, Any]:
    """Arguments of `vllm.LLM`, chosen from configuration and hardware."""
    gpu = config.on_gpu
    return {
        "model": str(folder),
        "dtype": dtype,
        "max_model_len": max_prompt_tokens + 1,
        "max_num_seqs": config.max_num_seqs,
        "max_num_batched_tokens": max(config.max_num_batched_tokens, max_prompt_tokens + 1),
        "block_size": config.block_size or (16 if gpu else 32),
        "enable_prefix_caching": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "hf_overrides": {"head_dtype": "float32"},  # bfloat16 logits near 16 have steps of 0.125, which ties grades
        "tensor_parallel_size": config.tensor_parallel_size,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "enforce_eager": not gpu,
        "disable_log_stats": True,
        "seed": 0,
    }


def build(config: JudgeConfig) -> PromptedJudge:
    from transformers import AutoTokenizer

    folder = local_model(config.model)
    dtype = compute_dtype(config.dtype, config.on_gpu).value
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    prompt = asked(config.prompt, config.examples)
    encoder = PromptEncoder(prompt, tokenizer, config.max_document_tokens, config.max_query_tokens)
    scorer = VllmScorer(folder, config, dtype, encoder.label_token_ids, encoder.max_prompt_tokens)
    return PromptedJudge(judge_id(config, dtype), encoder, scorer)
