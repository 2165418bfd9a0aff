"""What this machine can do, and the choices that follow; each choice is printed with its reason."""

from __future__ import annotations

import functools
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choice:
    """An automatic choice and why it was made."""

    value: str
    reason: str


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_gib() -> int:
    """This machine's memory, GiB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the CPU as Linux names them; empty where it does not tell."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return frozenset()
    lines = (line for line in path.read_text().splitlines() if line.startswith(("flags", "Features")))
    return frozenset(next(lines, ":").split(":", 1)[1].split())


def has_gpu() -> bool:
    """Whether an NVIDIA device is visible, told without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible not in ("", "-1") and any(Path("/dev").glob("nvidia[0-9]*"))


def compute_dtype(wish: str, gpu: bool) -> Choice:
    """The dtype to compute in: `wish`, or for `auto` bfloat16 where the hardware multiplies in it, else float32."""
    if wish != "auto":
        return Choice(wish, "asked for")
    if gpu:
        return Choice("bfloat16", "GPU")
    fast = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"})
    if fast:
        return Choice("bfloat16", f"the CPU multiplies in it ({', '.join(fast)})")
    return Choice("float32", "the CPU has no bfloat16 arithmetic")


def facts() -> dict[str, str | int]:
    """Facts of this machine for the run's record."""
    return {
        "machine": platform.machine(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "bfloat16": compute_dtype("auto", False).reason,
        "gpu": has_gpu(),
        "python": sys.version.split()[0],
        "system": platform.system(),
    }
