"""The record of a training: `training.json` and `queries_seen.parquet` beside the model; finished, resumed, refused.

`training.json` is written last, so a folder that has it holds a finished model. While a training runs, its identity
lies in `training-started.json`: the same command goes on where it was, another configuration is refused.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import numpy as np

from relabel.differences import first_difference
from relabel.errors import ConfigError
from relabel.lineage import write_queries_seen
from relabel.storage import Folder
from train.checkpoints import State, remove_tree
from train.config import TrainingConfig

RECORD = "training.json"
STARTED = "training-started.json"
#: Fields that may change between a training and its continuation: they do not change what is learned.
MAY_CHANGE = (
    "restart",
    "retries",
    "track",
    "threads",
    "gpus",
    "workers",
    "zero_stage",
    "micro_batch",
    "checkpoint_steps",
)
#: Points kept of the loss curve.
CURVE_POINTS = 2_000
PACKAGES = ("torch", "transformers", "deepspeed", "ray", "sentence-transformers", "peft")


def finished(out: Folder, config: TrainingConfig, inputs: dict[str, Any], log: Callable[[str], None]) -> dict | None:
    """The record of a finished training of the same configuration in `out`, or None when there is work to do.

    Args:
        inputs: facts of the input tables; other inputs are another training.

    Raises:
        ConfigError: where `out` holds a training of another configuration, unless `restart` is set: then it is cleared.
    """
    wanted = {"config": config.model_dump(mode="json", exclude=set(MAY_CHANGE)), "inputs": inputs}
    if config.restart:
        clear(out)
    if out.exists(STARTED):
        found = out.read_json(STARTED)
        chosen = config.model_dump(mode="json", exclude_defaults=True)
        difference = first_difference(found["config"], wanted["config"], MAY_CHANGE, chosen=chosen)
        difference = difference or first_difference(found["inputs"], wanted["inputs"])
        if difference:
            raise ConfigError(
                f"{out.uri}: {difference.key}",
                f"a training begun with {difference.before!r}, now {difference.now!r}",
                "the same configuration in the same folder",
                "choose another --out, or set restart to start anew",
            )
        if out.exists(RECORD):
            log(f"{out.uri}: finished before, nothing to do")
            return out.read_json(RECORD)
    out.write_json(STARTED, wanted)
    return None


def clear(out: Folder) -> None:
    """Remove what a training left in `out`: record, checkpoints, supervision, models; last what says whose they are."""
    out.remove(RECORD)
    for name in ("checkpoints", "supervision", "model", "adapter", "merged"):
        remove_tree(out / name)
    out.remove(STARTED)


def shown_counts(counts: dict[str, int]) -> str:
    """`rows_left_out: 3` → `rows left out 3`, in order of name."""
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(counts.items()))


def write_record(
    out: Folder,
    kind: str,
    config: TrainingConfig,
    base_model: str,
    outcome: dict[str, Any],
    counts: dict[str, int],
    seen: Iterable[str],
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Write lineage and record, remove checkpoints and supervision, return the record."""
    state: State = outcome["state"]
    every = max(1, -(-len(state.losses) // CURVE_POINTS))
    seen = set(seen)
    record = {
        "kind": kind,
        "base_model": base_model,
        "config": config.model_dump(mode="json"),
        "steps": state.step,
        "pairs_trained": state.pairs,
        "losses": [
            {
                "step": start + every,
                "loss": float(np.mean(state.losses[start : start + every])),
                "seconds": round(sum(state.step_seconds[start : start + every]), 4),
            }
            for start in range(0, len(state.losses), every)
        ],
        "validations": state.validations,
        "best_step": state.best_step,
        "best_score": state.best_score,
        "seconds": round(state.seconds, 2),
        "sessions": state.sessions,
        "device": outcome["device"],
        "dtype": outcome["dtype"],
        "workers": outcome["workers"],
        "supervision": counts,
        "queries_seen": len(seen),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        **extra,
    }
    write_queries_seen(out, seen)
    out.write_json(RECORD, record)
    remove_tree(out / "checkpoints")
    remove_tree(out / "supervision")
    return record
