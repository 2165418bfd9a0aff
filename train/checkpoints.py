"""Checkpoints of a training, on local disk or S3: the last one to resume from, the best one's weights to export.

    checkpoints/step-<n>/deepspeed/…            engine state, one file a rank
    checkpoints/step-<n>/weights.safetensors    trained parameters, float32, whatever the partition
    checkpoints/step-<n>/state.json             written last: a checkpoint without it does not exist

Invariant: at every moment at least one complete checkpoint lies in the folder, once there was one.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from relabel.errors import InputError
from relabel.storage import Folder
from relabel.storage_errors import explained
from relabel.untrusted import record, safe_names
from train.engine import full_weights

STATE = "state.json"
WEIGHTS = "weights.safetensors"
ENGINE = "deepspeed"
COPIED_AT_ONCE = 16 << 20
#: Makes every torch.load one that builds tensors and plain values alone.
FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@dataclass
class State:
    """Position and history of a training.

    Attributes:
        step: steps done; the next batch is number `step` of the whole run.
        partition: how the engine's state is cut: workers, ZeRO stage, dtype.
        losses: mean loss of each step done.
        validations: {step, measure: value, …} in order; None for a measure that is undefined on the held-out rows.
        best_step: step with the best validation, None before the first.
        best_score: its selection measure.
        pairs: query–document pairs of the steps so far, over all workers.
        seconds: wall time of the steps so far, earlier sessions included.
        step_seconds: the same of each step done.
        sessions: how often the training was started.
    """

    step: int = 0
    partition: str = ""
    losses: list[float] = field(default_factory=list)
    validations: list[dict[str, float | None]] = field(default_factory=list)
    best_step: int | None = None
    best_score: float | None = None
    pairs: int = 0
    seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    sessions: int = 0

    def stale(self, patience: int | None) -> bool:
        """Whether the last `patience` validations brought no better step; None waits for ever."""
        since = sum(one["step"] > (self.best_step or 0) for one in self.validations)
        return patience is not None and bool(self.best_step) and since >= patience


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def newest(folder: Folder) -> State | None:
    """The state of the newest complete checkpoint below `folder`, None where there is none."""
    names = folder.names(suffix=f"/{STATE}", recursive=True)
    return record(State, folder.read_json(names[-1]), f"{folder.uri}/{names[-1]}") if names else None


def save(folder: Folder, engine: Any, state: State, keep: set[int]) -> None:
    """Write a checkpoint of `state.step`, then remove those of steps not in `keep`; every rank must call this."""
    place = folder / checkpoint_name(state.step)
    rank = dist.get_rank()
    frozen = any(not parameter.requires_grad for parameter in engine.module.parameters())
    with _local(place) as local:
        engine.save_checkpoint(str(local / ENGINE), tag="engine", save_latest=False, exclude_frozen_parameters=frozen)
        weights = full_weights(engine)
        if rank == 0:
            save_weights(weights, local / WEIGHTS)
        if not place.is_local:
            upload(local, place)
    dist.barrier()
    if rank == 0:
        place.write_json(STATE, asdict(state))
        kept = {checkpoint_name(step) for step in keep}
        for name in {name.split("/")[0] for name in folder.names(prefix="step-", recursive=True)} - kept:
            remove_tree(folder / name)
    dist.barrier()


def restore(folder: Folder, engine: Any, state: State) -> None:
    """Load the engine's parameters and optimizer of `state.step`; every rank must call this.

    The partition must be the one that wrote it: see `weights_of` for the other case.

    Raises:
        InputError: for a file that holds more than tensors, plain values and the few classes of DeepSpeed's own.
    """
    place = folder / checkpoint_name(state.step)
    frozen = any(not parameter.requires_grad for parameter in engine.module.parameters())
    with _local(place) as local:
        if not place.is_local:
            download(place, local)
        with _tensors_alone(place):
            path, _ = engine.load_checkpoint(str(local / ENGINE), tag="engine", load_module_strict=not frozen)
        if path is None:
            raise FileNotFoundError(f"{place.uri}/{ENGINE}: DeepSpeed found no checkpoint")


def weights_of(folder: Folder, step: int) -> dict[str, torch.Tensor]:
    """The float32 trained parameters of a checkpoint."""
    from safetensors.torch import load

    return load((folder / checkpoint_name(step)).read_bytes(WEIGHTS))


def save_weights(weights: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path)


def upload(local: Path, folder: Folder) -> None:
    """Copy a local folder's files into `folder`; raises InputError where the store refuses one."""
    source = Folder(local)
    _copy(source, folder, source.names(recursive=True))


def download(folder: Folder, local: Path) -> None:
    """Copy the files of `folder` into a local folder; raises InputError where one cannot be read or written."""
    names = folder.names(recursive=True)
    safe_names(names, folder.uri)
    _copy(folder, Folder(local), names)


def _copy(source: Folder, target: Folder, names: list[str]) -> None:
    """`pyarrow.fs.copy_files` would close what it wrote in a destructor, where an error is printed and lost."""
    for name in names:
        if target.is_local:
            Path(target.path(name)).parent.mkdir(parents=True, exist_ok=True)
        with (
            explained(f"{source.uri}/{name} to {target.uri}"),
            source.filesystem.open_input_stream(source.path(name)) as reading,
            target.filesystem.open_output_stream(target.path(name)) as writing,
        ):
            shutil.copyfileobj(reading, writing, COPIED_AT_ONCE)


def remove_tree(folder: Folder) -> None:
    """Remove a folder with all it holds; no error where it is gone already."""
    if folder.exists():
        folder.filesystem.delete_dir(folder.path())


@contextmanager
def _tensors_alone(place: Folder):
    """DeepSpeed reads its files as pickles, which may call anything; in here only tensors and plain values are made."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get(FORCED)
    os.environ[FORCED] = "1"  # stronger than the weights_only=False that DeepSpeed asks for
    try:
        # Python 3.11.0 to 3.11.3 pickle an enum's member as `getattr(enum, name)`.
        enums = (partial(_member, ZeroStageEnum), "builtins.getattr")
        with torch.serialization.safe_globals([ZeroStageEnum, LossScaler, DynamicLossScaler, fragment_address, enums]):
            yield
    except pickle.UnpicklingError as error:
        said = str(error).partition("Please file an issue")[0].partition("in the following error message.")
        found = (said[2] or said[0]).strip().splitlines()  # torch tells first how one could load it all the same
        raise InputError(
            f"{place.uri}/{ENGINE}",
            f"a file with more than tensors in it ({' '.join(found)[:300]})",
            "a checkpoint that this training wrote",
            "remove this checkpoint, and find out who changed it",
        ) from None
    finally:
        os.environ.pop(FORCED)
        if before is not None:
            os.environ[FORCED] = before


def _member(allowed: type[Enum], kind: Any, name: Any) -> Enum:
    """What stands for `getattr` in a checkpoint: members of one enum, and nothing else of anything."""
    if kind is not allowed or name not in allowed.__members__:
        raise pickle.UnpicklingError(f"Unsupported attribute {name!r} of {kind!r}")
    return allowed[name]


@contextmanager
def _local(place: Folder):
    """The folder itself where it is local, else a temporary one."""
    if place.is_local:
        yield Path(place.uri)
        return
    path = Path(tempfile.mkdtemp(prefix="relabel-checkpoint-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
