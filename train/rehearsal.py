"""What a training will take, before there is one: its steps counted by the real supervision, some of them timed.

The supervision is written as for the training itself, so the number of pairs is that of the training; the timed steps
are those of the real task, model and DeepSpeed engine. A re-ranker's labels do not exist before the judge: the labels
of the pairs stand in for them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.hardware import compute_dtype
from relabel.prompts import asked
from relabel.records import LABELS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_manifest, read_whole
from train.config import TrainingConfig
from train.graded_examples import graded_examples
from train.judge import examples_of
from train.judge_config import JudgeTrainingConfig
from train.judge_task import JudgeTask
from train.loop import Task, on_device
from train.reranker import RerankerConfig, RerankerTask, groups_of
from train.shuffle import EpochFiles
from train.supervision import query_texts, split_queries

#: A validated pair costs a third of a trained one: no backward pass.
VALIDATED = 1 / 3
#: Steps that are timed, at most, after one that is not.
STEPS = 4


@dataclass(frozen=True)
class Supervision:
    """The batches of a training in `files`, and the pairs that go through its model.

    Attributes:
        task: what the loop would get.
        trained: pairs of all epochs.
        validated: pairs of all validations.
        checkpoints: that are written.
    """

    task: Task
    files: Folder
    epochs: list[EpochFiles]
    trained: int
    validated: int
    checkpoints: int

    @property
    def load(self) -> float:
        """Pairs in the cost of trained ones."""
        return self.trained + VALIDATED * self.validated


def judge_supervision(config: JudgeTrainingConfig, files: Folder) -> Supervision:
    """As `train.judge.train_judge` writes it; raises as that does."""
    prompt, pairs = asked(config.prompt, config.examples), Folder(config.pairs)
    task = JudgeTask(config, files)
    queries = set(query_texts(pairs, "pairs").values())
    split = split_queries(queries, config.validation_fraction, config.validation_queries, config.seed, set())
    held = sum(row["fingerprint"] in split.validation for row in graded_examples(pairs, prompt))
    written = examples_of(task, pairs, split.train)
    return _counted(task, config, files, written.epochs, min(held, config.validation_pairs))


def reranker_supervision(config: RerankerConfig, pairs: Folder, files: Folder, every_label: bool) -> Supervision:
    """As `train.reranker.train_reranker` writes it, over the labels of a pairs table.

    Args:
        every_label: pairs without a label are trained on as well, as where a judge labels them.
    """
    labels = files / "labels"
    _stand_in(pairs, labels, every_label)
    task = RerankerTask(config, files)
    split = split_queries(
        set(query_texts(labels, "labels").values()), config.validation_fraction, config.validation_queries,
        config.seed, set(),
    )  # fmt: skip
    held = 0
    if config.validation is None:
        from relabel.lineage import query_fingerprint

        table = read_whole(labels, "labels", ["query", "label"])
        held = sum(
            label is not None and query_fingerprint(query) in split.validation
            for query, label in zip(table["query"].to_pylist(), table["label"].to_pylist(), strict=True)
        )
    written = groups_of(task, labels, split.train)
    return _counted(task, config, files, written.epochs, held)


def _counted(task: Task, config: TrainingConfig, files: Folder, epochs: list[EpochFiles], held: int) -> Supervision:
    trained = sum(
        task.pairs(rows) for number in range(len(epochs)) for rows in _batches_of(files, number, epochs[number])
    )
    steps = np.cumsum([epoch.steps for epoch in epochs]).tolist()
    checked = {step for step in range(1, steps[-1] + 1) if step % config.checkpoint_steps == 0} | set(steps)
    return Supervision(task, files, epochs, trained, held * (1 + len(checked)), len(checked))


def _batches_of(files: Folder, number: int, epoch: EpochFiles) -> list[pa.Table]:
    return [(files / f"epoch-{number}").read_table(name) for names in epoch.files for name in names]


def _stand_in(pairs: Folder, labels: Folder, every_label: bool) -> None:
    """A labels table with the labels of a pairs table."""
    scale = read_manifest(pairs, "pairs").scale or Scale((0, 1), 1)
    table = read_whole(pairs, "pairs")
    degrees = pa.array(scale.degree(table["label"].to_numpy().astype(float)), pa.float32(), from_pandas=True)
    label = pc.fill_null(degrees, 0) if every_label else degrees
    filled = {"original_label": table["label"], "original_source": table["label_source"], "label": label}
    filled |= {"weight": pa.repeat(pa.scalar(1.0, pa.float32()), table.num_rows)}
    filled |= {name: pa.repeat("keep", table.num_rows) for name in ("rule", "action")}
    columns = [
        filled[field.name]
        if field.name in filled
        else table[field.name]
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in LABELS
    ]
    writer = TableWriter(labels, "labels", scale)
    writer.write(pa.table(columns, schema=LABELS))
    writer.finish({"relevant_degree": scale.relevant_degree})


def timed_steps(
    supervision: Supervision, config: TrainingConfig, threads: int, gpus: float, seconds: float
) -> list[float]:
    """Pairs a second of one worker in each of some steps, after one for warming up; in a process of its own.

    Args:
        seconds: no further step is begun after so many.
    """
    import torch
    import torch.distributed as dist

    from train.engine import build_engine, choose_device

    torch.set_num_threads(threads)
    device = choose_device(gpus).value
    alone = config.model_copy(update={"workers": 1, "batch": config.batch // config.workers})
    if not dist.is_initialized():  # DeepSpeed keeps the first group of a process
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        backend = "nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return _timed(supervision, alone, device, build_engine, seconds)


def _timed(
    supervision: Supervision, config: TrainingConfig, device: str, build_engine: Any, seconds: float
) -> list[float]:
    task = supervision.task
    model = task.build_model()
    engine = build_engine(
        model, task.parameter_groups(model), config, compute_dtype(config.dtype, device == "cuda").value
    )
    engine.train()
    rows = (supervision.files / "epoch-0").read_table(supervision.epochs[0].files[0][0])
    found: list[float] = []
    begun = time.perf_counter()
    for number in range(STEPS + 1):
        batch = rows.slice(number * config.batch % rows.num_rows, config.batch)
        if batch.num_rows < config.batch or (found and time.perf_counter() - begun > seconds):
            break
        started = time.perf_counter()
        for start in range(0, batch.num_rows, config.rows_at_once):
            loss = task.loss(engine, on_device(task.collate(batch.slice(start, config.rows_at_once)), device))
            engine.backward(loss)
            engine.step()
            float(loss.detach())  # waits for a GPU
        found.append(task.pairs(batch) / (time.perf_counter() - started))
    return found[1:] or found
