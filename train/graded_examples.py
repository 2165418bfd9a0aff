"""Which pairs a judge is trained on, when: human grades → examples, balanced over the grades, drawn anew each epoch.

    examples    query, title, text, grade (index into the prompt's grades), position

Streaming and deterministic as `train.supervision`: an epoch's choice is a function of (seed, epoch, pair). Pairs
without a label are no examples; whatever is left out is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from relabel.errors import ConfigError, InputError
from relabel.lineage import query_fingerprint
from relabel.prompts.prompt import Prompt
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import read_manifest, read_parts
from train.shuffle import Shuffler, identity_hash
from train.supervision import LENGTH_CAP, Scratch, Written, check_filled

EXAMPLES = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("grade", pa.int64(), nullable=False),
    ]
)


def grade_indices(labels: np.ndarray, scale: Scale, prompt: Prompt) -> np.ndarray:
    """Human grades as indices into the prompt's grades; a graded table serves a binary prompt by its threshold.

    Raises:
        ConfigError: where the prompt asks for another number of grades.
    """
    if len(prompt.scale.grades) == len(scale.grades):
        return np.searchsorted(scale.grades, labels)
    if len(prompt.scale.grades) == 2:
        return (labels >= scale.relevant_from).astype(np.int64)
    raise ConfigError(
        f"prompt {prompt.name!r}",
        f"{len(prompt.scale.grades)} grades for pairs with {len(scale.grades)} ({list(scale.grades)})",
        "a prompt with as many grades as the pairs, or a binary one",
    )


def graded_examples(pairs: Folder, prompt: Prompt) -> Iterator[dict]:
    """Labelled rows of a pairs table as examples, with `query_id` and `doc_id`, and `fingerprint` for splits.

    Raises:
        InputError: for a table without a scale, or a label that is no grade of it.
    """
    manifest = read_manifest(pairs, "pairs")
    if manifest.scale is None:
        raise InputError(
            pairs.uri, "a pairs table without a scale", "human grades with their scale", "prepare it again"
        )
    row_number = 0
    for table in read_parts(pairs, "pairs", ["query_id", "doc_id", "query", "title", "text", "label"]):
        for row in table.to_pylist():
            row_number += 1
            if row["label"] is None:
                continue
            if row["label"] not in manifest.scale.grades:
                raise InputError(
                    f"{pairs.uri}: row {row_number}", f"label {row['label']}", f"one of {list(manifest.scale.grades)}"
                )
            grade = int(grade_indices(np.array([row["label"]]), manifest.scale, prompt)[0])
            yield {**row, "grade": grade, "fingerprint": query_fingerprint(row["query"])}


def balanced_keys(keys_by_grade: dict[int, np.ndarray]) -> dict[int, int]:
    """For each grade the greatest shuffling key that is kept, so that all grades have about as many examples.

    Each grade gives as many as the rarest has, but no less than a quarter of an equal share of all.
    """
    counts = {grade: len(keys) for grade, keys in keys_by_grade.items()}
    quota = max(min(counts.values()), -(-sum(counts.values()) // (4 * len(counts))))
    return {grade: int(np.sort(keys)[min(quota, len(keys)) - 1]) for grade, keys in keys_by_grade.items()}


def write_examples(
    pairs: Folder,
    out: Folder,
    prompt: Prompt,
    train_queries: set[str],
    *,
    balance: bool,
    limit: int | None,
    epochs: int,
    batch: int,
    ranks: int,
    seed: int,
) -> Written:
    """Write the graded examples of every epoch below `out`, newly drawn each epoch.

    Args:
        pairs: a pairs table with human labels.
        train_queries: fingerprints of the queries to train on.
        balance: draw about equally many examples of each grade.
        limit: examples an epoch, at most.

    Raises:
        ConfigError: where the examples of an epoch do not fill one batch.
    """
    written, counts = [], Counter()
    for epoch in range(epochs):
        keys: dict[int, list[int]] = {}
        for row in graded_examples(pairs, prompt):
            if row["fingerprint"] in train_queries:
                keys.setdefault(row["grade"], []).append(_example_key(seed, epoch, row))
        if not keys:
            raise InputError(pairs.uri, "no graded pair to train on", "human grades of several queries")
        by_grade = {grade: np.array(values, np.uint64) for grade, values in keys.items()}
        kept = balanced_keys(by_grade) if balance else {grade: 2**64 - 1 for grade in by_grade}
        chosen = np.sort(np.concatenate([values[values <= kept[grade]] for grade, values in by_grade.items()]))
        last = int(chosen[limit - 1]) if limit and limit < len(chosen) else 2**64 - 1
        seen: Counter = Counter()
        with Scratch() as scratch:
            shuffler = Shuffler(EXAMPLES, scratch, len(chosen))
            for row in graded_examples(pairs, prompt):
                if row["fingerprint"] not in train_queries:
                    continue
                key = _example_key(seed, epoch, row)
                used = key <= min(kept[row["grade"]], last)
                seen[f"grade_{prompt.scale.grades[row['grade']]}_{'used' if used else 'left_out'}"] += 1
                if used:
                    length = min(LENGTH_CAP, len(row["query"]) + len(row["title"]) + len(row["text"]))
                    shuffler.add({name: row[name] for name in EXAMPLES.names}, key, length)
            written.append(shuffler.write(out / f"epoch-{epoch}", batch, ranks, identity_hash(seed, epoch)))
        counts = counts or seen
        check_filled(written[-1], batch, f"{len(chosen)} examples", "batch")
    return Written(written, dict(counts))


def _example_key(seed: int, epoch: int, row: dict) -> int:
    return identity_hash(seed, epoch, row["query_id"], row["doc_id"])
