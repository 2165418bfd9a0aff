"""The DeepSpeed engine: device, dtype and optimizer, each choice with its reason; full float32 weights out of it."""

from __future__ import annotations

import os
from typing import Any

import torch

from relabel import heap
from relabel.hardware import Choice
from train.config import TrainingConfig


def choose_device(gpus: float) -> Choice:
    """`cuda` where this worker was given a GPU, else `cpu`."""
    if gpus and torch.cuda.is_available():
        return Choice("cuda", torch.cuda.get_device_name())
    return Choice("cpu", "no GPU was given to this worker")


def worker_environment(threads: int, gpus: float) -> dict[str, str]:
    """Environment variables that must be set before a worker's process starts."""
    environment = {
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin while they wait cost up to ten times the work where cores are shared; threads that sleep at
        # once cost a sixth where they are not. GNU's OpenMP, torch's on Linux, spins for microseconds, then sleeps.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "1000",
        "MALLOC_ARENA_MAX": heap.KEPT["MALLOC_ARENA_MAX"],
        "TOKENIZERS_PARALLELISM": "false",
        "DS_LOG_LEVEL": "warning",
        "PYTHONWARNINGS": "ignore",
    }
    if gpus:
        return environment
    return environment | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""} | heap.KEPT


def zero_stage(config: TrainingConfig, dtype: str) -> int:
    """The ZeRO stage that is used: what the recipe says, else 1 in bfloat16 and 0 in float32.

    ZeRO keeps the optimizer's float32 copies, which bfloat16 needs in any case. In float32 it saves memory alone, and
    costs: its copies of all gradients are a seventh of a step on a CPU, and after each step the weights travel, too. So
    one worker, which has no other to share with, never partitions in float32.
    """
    if dtype == "float32" and (config.workers == 1 or not config.zero_stage):
        return 0
    return config.zero_stage or 1


def build_engine(model: torch.nn.Module, groups: list[dict[str, Any]], config: TrainingConfig, dtype: str) -> Any:
    """A DeepSpeed engine over `model` with AdamW on `groups` (parameter groups with their peak learning rates).

    Without ZeRO it exchanges no gradients; several workers do by `train.exchange`, before each `step` that updates.
    """
    import deepspeed

    if os.environ.get("DS_ACCELERATOR") == "cpu":
        # The shared-memory reduction would be compiled at the first step; gloo does the same without a compiler.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config={
            "train_micro_batch_size_per_gpu": config.rows_at_once,
            "gradient_accumulation_steps": config.batch // config.workers // config.rows_at_once,
            "gradient_clipping": config.clipping,
            "bf16": {"enabled": dtype == "bfloat16"},
            "zero_optimization": {"stage": zero_stage(config, dtype), "overlap_comm": False},
            "steps_per_print": 10**9,
            "wall_clock_breakdown": False,
        },
    )
    if not zero_stage(config, dtype):
        engine.enable_backward_allreduce = False  # copies all gradients twice, even for one worker
    return engine


def full_weights(engine: Any) -> dict[str, torch.Tensor]:
    """The trained parameters in float32 on the CPU, gathered from all partitions; every rank must call this.

    Only parameters that are trained are returned (the adapter alone under LoRA).
    """
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            whole = safe_get_full_fp32_param(parameter) if engine.zero_optimization() else parameter
            shape = getattr(parameter, "ds_shape", parameter.shape)
            weights[name] = whole.detach().to("cpu", torch.float32).reshape(shape).clone()
    return weights


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put trained weights back into a freshly built model; a weight without its parameter is an error."""
    found = model.load_state_dict(weights, strict=False)
    if found.unexpected_keys:
        raise ValueError(f"weights without a parameter: {found.unexpected_keys}")
