"""Train a judge on human grades: a causal LM, cross-entropy on the grade token after the prompt.

    pairs with human labels → merged/ (what vLLM loads), adapter/ (LoRA only), training.json, queries_seen.parquet

    relabel train-judge --pairs PAIRS --model smollm2-135m-instruct --prompt terse-0-3 --out DIR

What is learned from a batch is in `judge_task`, which pairs there are in `graded_examples`. Labels that only say
relevant or not train the same prompt, so that a judge can learn from weak labels first and from human grades last: its
`merged/` folder is the next training's `model`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from relabel.lineage import queries_behind
from relabel.models import check_context
from relabel.prompts import asked
from relabel.prompts.few_shot import example_queries
from relabel.storage import Folder
from relabel.tables import read_manifest
from train.graded_examples import EXAMPLES, graded_examples, write_examples
from train.judge_config import JudgeTrainingConfig
from train.judge_task import JudgeTask
from train.launch import launch
from train.record import finished, shown_counts, write_record
from train.supervision import Written, query_texts, split_queries


def train_judge(config: JudgeTrainingConfig, out: Folder, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Train a judge into `out` and return the content of its `training.json`.

    Args:
        config: what to train on what.
        out: gets `merged/`, `adapter/` (LoRA), `training.json`, `queries_seen.parquet`. The same call on a finished
            folder returns at once, on a killed one it goes on.

    Raises:
        ConfigError: for a folder that holds another training, a prompt whose grades do not fit, or too few pairs.
        InputError: for pairs or a model that cannot be used.
    """
    prompt = asked(config.prompt, config.examples)
    pairs = Folder(config.pairs)
    manifest = read_manifest(pairs, "pairs")
    if record := finished(out, config, {"pairs": manifest.rows, "about": manifest.about}, log):
        return record
    supervision = out / "supervision"
    task = JudgeTask(config, supervision)
    check_context(task.source, task.encoder.max_prompt_tokens)
    labels = [repr(label) for label in task.encoder.prompt.labels]  # each is one token, or the encoder refuses it
    log(
        f"judge from {config.model}, {config.method}, peak learning rate {config.learning_rate:g}, "
        f"prompt {config.prompt} with the grades {', '.join(labels)}"
    )
    queries = set(query_texts(pairs, "pairs").values())
    split = split_queries(queries, config.validation_fraction, config.validation_queries, config.seed, set())
    held = [row for row in graded_examples(pairs, prompt) if row["fingerprint"] in split.validation]
    held = _spread(held, config.validation_pairs)
    supervision.write_table("validation.parquet", pa.Table.from_pylist(held, schema=EXAMPLES))
    log(f"queries: {len(split.train):,} for training, {len(split.validation):,} held out ({len(held):,} pairs)")
    written = examples_of(task, pairs, split.train)
    log(f"supervision: {shown_counts(written.counts)}")
    outcome = launch(task, config, written.epochs, supervision, out, log)
    extra = {
        "prompt": config.prompt,
        "prompt_id": prompt.prompt_id,
        "max_document_tokens": config.max_document_tokens,
        "max_query_tokens": config.max_query_tokens,
        "pairs": manifest.about,
    }
    seen = split.seen | queries_behind(config.model) | example_queries(prompt)
    seen |= set(manifest.about.get("example_queries", ()))  # what showed a model how to write the queries of the table
    return write_record(out, "judge", config, config.model, outcome, written.counts, seen, extra)


def examples_of(task: JudgeTask, pairs: Folder, queries: set[str]) -> Written:
    """The batches of a training on these queries of a pairs table, written where the task looks for them."""
    config = task.config
    return write_examples(
        pairs,
        task.validation,
        task.prompt,
        queries,
        balance=config.balance,
        augment=config.augment,
        limit=config.pairs_per_epoch,
        epochs=config.epochs,
        batch=config.batch,
        ranks=config.workers,
        seed=config.seed,
        lengths=task.row_lengths,
        queries_per_document=config.queries_per_document,
        other_queries=config.other_queries,
        other_weight=config.other_weight,
    )


def _spread(rows: list[dict], most: int) -> list[dict]:
    """At most `most` rows, evenly over the list."""
    if len(rows) <= most:
        return rows
    return [rows[int(place)] for place in np.linspace(0, len(rows) - 1, most)]
