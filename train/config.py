"""Fields that every training shares: schedule, hardware, checkpoints. Judge and re-ranker add their own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relabel.config import Config


class TrainingConfig(Config):
    """How the one loop runs.

    Attributes:
        epochs: passes over the supervision, newly drawn each time.
        batch: rows of one step over all workers (pairs for the judge, groups for the re-ranker).
        micro_batch: rows that one worker puts through the model at once; default: its share of the batch, in even parts
            of at most `pairs_at_once` pairs. Activations are what fills the memory: lower it where memory is short.
        learning_rate: peak, reached after the warm-up and falling linearly to 0 at the last step.
        warmup: share of the steps with a rising learning rate.
        weight_decay: of AdamW.
        clipping: gradient norm above which gradients are scaled down.
        seed: of every choice.
        workers: Ray Train workers; more than one: data parallel.
        threads: torch threads a worker; default: this machine's cores divided by the workers.
        gpus: GPUs a worker; default: 1 where the cluster has GPUs, else 0.
        zero_stage: DeepSpeed ZeRO stage: what is partitioned over the workers, to save memory. Default: stage 1 in
            bfloat16; in float32 nothing (stage 0), which exchanges least, and never anything where one worker is alone.
        dtype: of the computation; weights and optimizer keep float32 in any case.
        checkpoint_steps: validate and save every so many steps (and at the end of an epoch).
        validation_fraction: share of the queries held out to choose the best step; 0: the last step is exported.
        validation_queries: at most this many queries are held out.
        patience: stop after this many validations in a row without a better one; null: go on to the last step.
        retries: how often a dead worker is replaced before the run fails.
        track: where the curves go while it trains: nowhere, to event files of TensorBoard in `tensorboard/` beside the
            model, or to MLflow or W&B as their own environment variables say.
        restart: start anew in a folder that holds another training, instead of refusing.
    """

    epochs: int = Field(1, ge=1)
    batch: int = Field(16, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clipping: float = Field(1.0, gt=0)
    seed: int = Field(0, ge=0)
    workers: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1)
    gpus: float | None = Field(None, ge=0)
    zero_stage: Literal[1, 2, 3] | None = None
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    checkpoint_steps: int = Field(100, ge=1)
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    validation_queries: int = Field(200, ge=1)
    patience: int | None = Field(None, ge=1)
    retries: int = Field(0, ge=0)
    track: Literal["none", "tensorboard", "mlflow", "wandb"] = "none"
    restart: bool = False

    @model_validator(mode="after")
    def _batch_divides(self):
        if self.batch % self.workers:
            raise ValueError(f"a batch that the {self.workers} workers can share evenly, not {self.batch}")
        if (self.batch // self.workers) % self.rows_at_once:
            raise ValueError(
                f"a micro_batch that divides each worker's share {self.batch // self.workers}, not {self.rows_at_once}"
            )
        return self

    @property
    def pairs_at_once(self) -> int:
        """Pairs that go through the model at once, at most, where the recipe does not say."""
        return 64

    @property
    def pairs_a_row(self) -> int:
        """Query–document pairs of one row, at most."""
        return 1

    @property
    def rows_at_once(self) -> int:
        """Rows that one worker puts through the model at once."""
        share = self.batch // self.workers
        most = max(1, self.pairs_at_once // self.pairs_a_row)
        return self.micro_batch or max(rows for rows in range(1, share + 1) if share % rows == 0 and rows <= most)
