"""The one training loop: a Ray Train worker with a DeepSpeed engine, its batches streamed by Ray Data.

Serves every `Task` (judge, re-ranker). Invariants: the batches and all randomness are a function of (files, seed)
alone, so a run that was killed and started again takes the same steps; the loop keeps its own position (step) in the
checkpoint and checks that each batch holds exactly the rows of that position.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

from relabel.errors import RelabelError
from relabel.hardware import Choice, compute_dtype
from relabel.heap import Heap
from relabel.metrics import Meter
from relabel.progress import duration
from relabel.storage import Folder
from train import checkpoints
from train.checkpoints import State
from train.config import TrainingConfig
from train.engine import build_engine, choose_device, load_weights, zero_stage
from train.exchange import GradientExchange
from train.shuffle import identity_hash
from train.tracking import Tracker, tracker

#: Seconds between two progress lines.
PROGRESS_SECONDS = 10.0


class Task(Protocol):
    """What is trained. Instances travel to the workers, so they hold names and addresses, not models."""

    #: The validation measure that chooses the best step; higher is better.
    selection: str
    #: What a row is called in progress lines.
    unit: str

    def build_model(self) -> torch.nn.Module:
        """The model in float32 on the CPU, before training."""

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        """AdamW parameter groups of the parameters to train, with peak learning rates."""

    def collate(self, rows: pa.Table) -> dict[str, Any]:
        """The tensors of one micro-batch, in dictionaries that may be nested."""

    def pairs(self, rows: pa.Table) -> int:
        """Query–document pairs in these rows, for the rate."""

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """The mean loss of one micro-batch."""

    def validate(self, model: torch.nn.Module, ranks: Ranks) -> dict[str, float]:
        """Measures on the held-out rows, the same on every rank; {} where nothing is held out."""

    def export(self, model: torch.nn.Module, folder: Path, dtype: str) -> None:
        """Write the trained model (float32, on the CPU) in its public layout; `dtype` is what training computed in."""


@dataclass(frozen=True)
class Ranks:
    """The workers of a run as seen by one of them."""

    rank: int
    count: int
    device: str

    def gathered(self, values: list[Any]) -> list[Any]:
        """The lists of all ranks, one after another; every rank must call this."""
        if self.count == 1:
            return values
        parts: list[list[Any]] = [[] for _ in range(self.count)]
        dist.all_gather_object(parts, values)
        return [value for part in parts for value in part]

    def mean(self, value: float) -> float:
        """The mean of a number over all ranks; every rank must call this."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total) / self.count


@dataclass(frozen=True)
class Job:
    """What a worker gets: the task, the schedule, the steps of each epoch, where to write, whom to tell."""

    task: Task
    config: TrainingConfig
    steps: list[int]
    gpus: float
    threads: int
    out: Folder
    board: Any

    @property
    def total_steps(self) -> int:
        return sum(self.steps)


def learning_rate_share(step: int, total: int, warmup: float) -> float:
    """The share of the peak learning rate at a step: linearly up over the warm-up, then linearly down to 0."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (total - step) / max(1, total - rising))


def run_worker(job: Job) -> dict[str, Any]:
    """Train on this worker; rank 0 exports the best step's model and returns what happened."""
    import ray.train

    context = ray.train.get_context()
    torch.set_num_threads(job.threads)
    device = choose_device(job.gpus)
    dtype = compute_dtype(job.config.dtype, device.value == "cuda")
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), device.value)
    training = _Training(job, ranks, device.value, dtype.value)
    training.tell(
        f"device {_shown(device)}; computation in {_shown(dtype)}; {ranks.count} worker(s) × {job.threads} thread(s)"
    )
    training.prepare()
    for epoch, steps in enumerate(job.steps):
        if training.state.step < sum(job.steps[: epoch + 1]) and not training.stopped:
            shard = ray.train.get_dataset_shard(dataset_name(epoch, ranks.rank))
            training.epoch(shard, sum(job.steps[:epoch]), steps)
    if ranks.rank:
        return {}
    training.export()
    return {"state": training.state, "device": device.value, "dtype": dtype.value, "workers": ranks.count}


def _shown(choice: Choice) -> str:
    return f"{choice.value} ({choice.reason})"


def dataset_name(epoch: int, rank: int) -> str:
    return f"epoch-{epoch}-rank-{rank}"


def on_device(batch: Any, device: str) -> Any:
    """A (nested) dictionary of tensors, moved to a device."""
    if isinstance(batch, dict):
        return {name: on_device(value, device) for name, value in batch.items()}
    return batch.to(device)


class _Training:
    """The state of one worker's run: model, engine, position."""

    def __init__(self, job: Job, ranks: Ranks, device: str, dtype: str):
        self.job, self.task, self.config, self.ranks = job, job.task, job.config, ranks
        self.device, self.dtype = device, dtype
        self.folder = job.out / "checkpoints"
        self.state = checkpoints.newest(self.folder) or State()
        self._told = 0.0
        self._meter = Meter(training=job.out.uri.rpartition("/")[2])
        self._tracker: Tracker | None = None
        self._exchange: GradientExchange | None = None
        self._heap = Heap(kept=device == "cpu")

    def tell(self, line: str) -> None:
        if self.ranks.rank == 0:
            self.job.board.post.remote(line)

    def prepare(self) -> None:
        """Build model and engine, and put them where the newest checkpoint left off."""
        torch.manual_seed(self.config.seed)
        model = self.task.build_model()
        partition = f"{self.ranks.count} worker(s), ZeRO {zero_stage(self.config, self.dtype)}, {self.dtype}"
        other = bool(self.state.step) and self.state.partition != partition
        if other:
            load_weights(model, checkpoints.weights_of(self.folder, self.state.step))
            self.tell(
                f"the checkpoint of step {self.state.step} was written by {self.state.partition}; this run has "
                f"{partition}: the weights are used, the optimizer starts anew"
            )
        groups = self.task.parameter_groups(model)
        self._peaks = [group["lr"] for group in groups]
        self.engine = build_engine(model, groups, self.config, self.dtype)
        if self.ranks.count > 1 and not zero_stage(self.config, self.dtype):
            self._exchange = GradientExchange(self.engine.module)
        if self.state.step and not other:
            checkpoints.restore(self.folder, self.engine, self.state)
        if self.state.step:
            self.tell(f"resumed after step {self.state.step} of {self.job.total_steps}")
        elif self.ranks.count > 1:
            dist.barrier()
        self.state.partition = partition
        self.state.sessions += 1
        if not self.state.validations:
            self._validate()
        self._heap.start()

    def epoch(self, shard: Any, first: int, steps: int) -> None:
        """The steps of one epoch that are not done yet; `first` is the number of its first step."""
        rows_each = self.config.batch // self.ranks.count
        batches = shard.iter_batches(batch_size=rows_each, batch_format="pyarrow", prefetch_batches=2)
        done, started = first, None
        for number, rows in enumerate(batches):
            if first + number < self.state.step:
                done += 1
                continue
            self._check_position(rows, number)
            started = started or time.perf_counter()  # waiting for rows counts, but for the first, which are a start
            loss = self._step(rows)
            pairs = self.task.pairs(rows)
            if not math.isfinite(loss):
                raise RelabelError(
                    f"{self.job.out.uri}: step {self.state.step + 1}",
                    f"a loss of {loss}",
                    "a finite loss",
                    "set a lower learning_rate, or dtype float32, and restart",
                )
            seconds, started = time.perf_counter() - started, time.perf_counter()
            self.state.seconds += seconds
            self.state.step_seconds.append(round(seconds, 4))
            self.state.pairs += round(self.ranks.mean(pairs) * self.ranks.count)
            self.state.losses.append(loss)
            self.state.step += 1
            done += 1
            self._measured(pairs, loss, seconds)
            self._progress(pairs, seconds)
            if self.state.step % self.config.checkpoint_steps == 0 or done == first + steps:
                self._checkpoint()
                self._heap.start()
                if self.stopped:
                    self.tell(
                        f"stopped early at step {self.state.step} of {self.job.total_steps}: {self.config.patience} "
                        f"validations in a row brought no better {self.task.selection} than step {self.state.best_step}"
                    )
                    return
                started = None
        if done != first + steps:
            raise RuntimeError(f"an epoch of {steps} steps ended after {done - first}: files were lost or added")

    @property
    def stopped(self) -> bool:
        """Whether the last `patience` validations, which all ranks and a resumed run know alike, brought nothing."""
        return self.state.stale(self.config.patience)

    def _check_position(self, rows: pa.Table, number: int) -> None:
        expected = number * self.config.batch + np.arange(self.ranks.rank, self.config.batch, self.ranks.count)
        found = np.asarray(rows["position"])
        if not np.array_equal(found, expected):
            raise RuntimeError(f"batch {number} holds rows {found.tolist()}, expected {expected.tolist()}")

    def _step(self, rows: pa.Table) -> float:
        torch.manual_seed(identity_hash(self.config.seed, self.state.step, self.ranks.rank) >> 1)
        share = learning_rate_share(self.state.step, self.job.total_steps, self.config.warmup)
        for group, peak in zip(self.engine.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * share
        self.engine.train()
        at_once = self.config.rows_at_once
        losses = []
        for start in range(0, rows.num_rows, at_once):
            batch = on_device(self.task.collate(rows.slice(start, at_once)), self.device)
            loss = self.task.loss(self.engine, batch)
            self.engine.backward(loss)
            if self._exchange and self.engine.is_gradient_accumulation_boundary():
                self._exchange.average()
            self.engine.step()
            losses.append(float(loss.detach()))
        self._heap.after_step()
        return self.ranks.mean(float(np.mean(losses)))

    def _measured(self, pairs: int, loss: float, seconds: float) -> None:
        """Metrics of a step; each worker counts its own pairs."""
        self._meter.count("relabel_training_pairs", pairs)
        if self.ranks.rank == 0:
            rate = pairs * self.ranks.count / seconds
            self._meter.show("relabel_training_loss", loss)
            self._meter.show("relabel_training_pairs_per_second", rate)
            self._meter.show("relabel_training_step", self.state.step)
            share = learning_rate_share(self.state.step - 1, self.job.total_steps, self.config.warmup)
            self._track({"loss": loss, "pairs_per_second": rate, "learning_rate_share": share})

    def _track(self, values: dict[str, float]) -> None:
        """To the tracker of the recipe, which is made at the first call, by the first rank alone."""
        if self._tracker is None:
            facts = self.config.model_dump(mode="json")
            self._tracker = tracker(self.config.track, self.job.out, self.state.step, facts, self.tell)
        self._tracker.log(self.state.step, values)

    def _progress(self, pairs: int, seconds: float) -> None:
        state, total = self.state, self.job.total_steps
        if time.monotonic() - self._told < PROGRESS_SECONDS and state.step not in (1, total):
            return
        self._told = time.monotonic()
        rate = pairs * self.ranks.count / seconds
        left = (total - state.step) * state.seconds / state.step
        self.tell(
            f"step {state.step}/{total} · loss {np.mean(state.losses[-10:]):.4f} · {rate:,.1f} pairs/s · "
            f"{seconds:.2f} s a step · about {duration(left)} left"
        )

    def _validate(self) -> None:
        """Measure on the held-out rows and remember the best step."""
        self.engine.eval()
        with torch.inference_mode():
            measures = self.task.validate(self.engine, self.ranks)
        if not measures:
            return
        measures = {name: value if math.isfinite(value) else None for name, value in measures.items()}
        self.state.validations.append({"step": self.state.step, **measures})
        if self.ranks.rank == 0:
            self._track({f"validation/{name}": value for name, value in measures.items() if value is not None})
        score, best = measures[self.task.selection], self.state.best_score
        if self.state.step and score is not None and (best is None or score > best):
            self.state.best_step, self.state.best_score = self.state.step, score
        shown = (f"{name} " + ("undefined" if value is None else f"{value:.4f}") for name, value in measures.items())
        self.tell(f"step {self.state.step}/{self.job.total_steps} · validation: {' · '.join(shown)}")

    def _checkpoint(self) -> None:
        self._validate()
        if self.state.best_score is None:  # nothing is held out, or it cannot be measured: the last step is the best
            self.state.best_step = self.state.step
        best = self.state.best_step
        checkpoints.save(self.folder, self.engine, self.state, {self.state.step, best or self.state.step})

    def export(self) -> None:
        """Write the model of the best step into the out folder."""
        if self._tracker:
            self._tracker.close()
        step = self.state.best_step or self.state.step
        weights = checkpoints.weights_of(self.folder, step)
        del self.engine
        model = self.task.build_model()
        load_weights(model, weights)
        model.eval()
        with tempfile.TemporaryDirectory(prefix="relabel-export-") as folder:
            self.task.export(model, Path(folder), self.dtype)
            checkpoints.upload(Path(folder), self.job.out)
        self.tell(f"exported the model of step {step}")
