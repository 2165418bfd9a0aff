"""Which pairs a judge is trained on, when: human grades → examples, balanced or not, drawn anew each epoch.

    examples    query, title, text, lowest, highest (allowed grades, indices into the prompt's)
    written     the same by document (`train.shared_documents`), position

Both bounds are the grade where a person gave one. A label that only says relevant or not, such as a known answer's,
allows all grades on its side of the prompt's relevance boundary: weak supervision for the same judge. Streaming and
deterministic as `train.supervision`: an epoch's choice is a function of (seed, epoch, pair). Pairs without a label are
no examples; whatever is left out is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa

from relabel.errors import ConfigError, InputError
from relabel.lineage import query_fingerprint
from relabel.prompts.prompt import Prompt
from relabel.records import Scale
from relabel.robustness.augmentation import Augmentation, augmented
from relabel.storage import Folder
from relabel.tables import read_manifest, read_parts
from train.shared_documents import OtherQueries, document_hash, gathered
from train.shuffle import Shuffler, identity_hash
from train.supervision import Scratch, Written, check_filled

EXAMPLES = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("lowest", pa.int64(), nullable=False),
        pa.field("highest", pa.int64(), nullable=False),
    ]
)


#: How an epoch's examples are drawn: about equally many of each grade within each query, over all queries, or as it is.
Balance = Literal["query", "grade", "natural"]
#: No document is perturbed.
NOT_AUGMENTED = Augmentation()
#: The greatest shuffling key: all are kept up to it.
ALL = 2**64 - 1


def allowed_grades(labels: np.ndarray, scale: Scale, prompt: Prompt) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest of the prompt's grades that each label allows, indices [n] each.

    Grades are taken one by one where both scales have equally many; a graded table serves a binary prompt by its
    threshold; a binary table allows a graded prompt all grades on the label's side of the prompt's threshold.

    Raises:
        ConfigError: where the numbers of grades differ in another way.
    """
    asked = prompt.scale
    if len(asked.grades) == len(scale.grades):
        index = np.searchsorted(scale.grades, labels)
        return index, index
    relevant = labels >= scale.relevant_from
    if len(asked.grades) == 2:
        return relevant.astype(np.int64), relevant.astype(np.int64)
    if len(scale.grades) == 2:
        first = asked.grades.index(asked.relevant_from)
        return np.where(relevant, first, 0), np.where(relevant, len(asked.grades) - 1, first - 1)
    raise ConfigError(
        f"prompt {prompt.name!r}",
        f"{len(asked.grades)} grades for pairs with {len(scale.grades)} ({list(scale.grades)})",
        "a prompt with as many grades as the pairs, or one of the two with two grades",
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
            lowest, highest = (int(one[0]) for one in allowed_grades(np.array([row["label"]]), manifest.scale, prompt))
            yield {**row, "lowest": lowest, "highest": highest, "fingerprint": query_fingerprint(row["query"])}


def balanced_keys(keys_by_grade: dict[int, np.ndarray]) -> dict[int, int]:
    """For each grade the greatest shuffling key that is kept, so that all grades have about as many examples.

    Each grade gives as many as the rarest has, but no less than a quarter of an equal share of all.
    """
    counts = {grade: len(keys) for grade, keys in keys_by_grade.items()}
    quota = max(min(counts.values()), -(-sum(counts.values()) // (4 * len(counts))))
    return {grade: int(np.sort(keys)[min(quota, len(keys)) - 1]) for grade, keys in keys_by_grade.items()}


def kept_keys(keys: dict[tuple[str, int], np.ndarray], balance: Balance) -> dict[tuple[str, int], int]:
    """For each (query, grade) the greatest shuffling key that is kept; −1 where none is.

    Balanced over the grades alone, a sample tells much of the grade by the query: queries with many relevant documents
    give many relevant examples, and a judge learns to know the query. Balanced within the query, the query tells
    nothing; queries whose documents all have one grade tell nothing either and are left out.
    """
    if balance == "natural":
        return dict.fromkeys(keys, ALL)
    if balance == "grade":
        grades = sorted({grade for _, grade in keys})
        by_grade = {grade: np.concatenate([keys[key] for key in keys if key[1] == grade]) for grade in grades}
        last = balanced_keys(by_grade)
        return {key: last[key[1]] for key in keys}
    queries: dict[str, dict[int, np.ndarray]] = {}
    for (query, grade), values in keys.items():
        queries.setdefault(query, {})[grade] = values
    kept = {}
    for query, by_grade in queries.items():
        last = balanced_keys(by_grade) if len(by_grade) > 1 else dict.fromkeys(by_grade, -1)
        kept |= {(query, grade): last[grade] for grade in by_grade}
    return kept


def chosen_keys(
    keys: dict[tuple[str, int], np.ndarray], kept: dict[tuple[str, int], int]
) -> dict[tuple[str, int], np.ndarray]:
    """The keys up to the greatest that is kept, ascending, of each (query, grade) that has any."""
    up_to = ((place, np.sort(values[values <= kept[place]])) for place, values in keys.items() if kept[place] >= 0)
    return {place: values for place, values in up_to if len(values)}


def limited(chosen: dict[tuple[str, int], np.ndarray], limit: int, balance: Balance) -> dict[tuple[str, int], int]:
    """As `kept_keys`, for the chosen keys and `limit` examples at most.

    Balanced examples stay so: each (query, grade) gives the same share of its own. The smallest keys of all would be
    mostly those of the common grades, of which balancing chose the smallest. Nothing chose among natural ones, and
    their smallest keys keep whole documents.
    """
    if sum(map(len, chosen.values())) <= limit:
        return {place: int(values[-1]) for place, values in chosen.items()}
    if balance == "natural":
        return dict.fromkeys(chosen, int(np.sort(np.concatenate(list(chosen.values())))[limit - 1]))
    places, owners = [], []
    for place, values in chosen.items():
        start = identity_hash("limit", *place, int(values[0])) / 2**64
        places.append((np.arange(len(values)) + start) / len(values))
        owners += [place] * len(values)
    first = np.argsort(np.concatenate(places), kind="stable")[:limit]
    counts = Counter(owners[number] for number in first)
    return {place: int(values[counts[place] - 1]) if counts[place] else -1 for place, values in chosen.items()}


def write_examples(
    pairs: Folder,
    out: Folder,
    prompt: Prompt,
    train_queries: set[str],
    *,
    balance: Balance,
    limit: int | None,
    epochs: int,
    batch: int,
    ranks: int,
    seed: int,
    lengths: Callable[[pa.Table], list[int]],
    augment: Augmentation = NOT_AUGMENTED,
    queries_per_document: int = 1,
    other_queries: int = 0,
    other_weight: float = 1.0,
) -> Written:
    """Write the graded examples of every epoch below `out`, newly drawn each epoch.

    Args:
        pairs: a pairs table with human labels.
        train_queries: fingerprints of the queries to train on.
        balance: see `kept_keys`.
        limit: examples an epoch, at most, balanced as all are; with natural balance all of a document that has several
            queries.
        lengths: of rows of `DOCUMENTS`, see `Shuffler`.
        augment: which documents are perturbed; they keep their grades.
        queries_per_document: labelled pairs of one document that go through the model together, at most.
        other_queries: queries of other documents that each row gets as pairs of the lowest grade.
        other_weight: their weight in the loss.

    Raises:
        ConfigError: where the examples of an epoch do not fill one batch.
        InputError: where no query has a graded pair, or, balanced within queries, none has two grades.
    """
    written, counts = [], Counter()
    key_of = document_hash if queries_per_document > 1 else _example_key
    for epoch in range(epochs):
        others = OtherQueries(other_queries, other_weight, identity_hash(seed, epoch))
        keys: dict[tuple[str, int], list[int]] = {}
        for row in graded_examples(pairs, prompt):
            if row["fingerprint"] in train_queries:
                keys.setdefault((row["query_id"], row["lowest"]), []).append(key_of(seed, epoch, row))
                others.know(row)
        if not keys:
            raise InputError(pairs.uri, "no graded pair to train on", "human grades of several queries")
        arrays = {place: np.array(values, np.uint64) for place, values in keys.items()}
        kept = kept_keys(arrays, balance)
        chosen = chosen_keys(arrays, kept)
        if not chosen:
            raise InputError(
                pairs.uri,
                "one grade only within each query",
                "queries with documents of different grades",
                "set balance: grade, or add grades",
            )
        if limit:
            kept |= limited(chosen, limit, balance)
        seen: Counter = Counter()
        with Scratch() as scratch:
            perturbed = partial(augmented, options=augment, answer=prompt.labels[-1], seed=seed, epoch=epoch)
            gather = partial(gathered, most=queries_per_document, others=others, perturbed=perturbed)
            shuffler = Shuffler(EXAMPLES, scratch, sum(map(len, chosen.values())), lengths, gather)
            for row in graded_examples(pairs, prompt):
                if row["fingerprint"] not in train_queries:
                    continue
                key = key_of(seed, epoch, row)
                used = key <= kept[row["query_id"], row["lowest"]]
                seen[f"grade_{_named(row, prompt.scale)}_{'used' if used else 'left_out'}"] += 1
                if used:
                    shuffler.add({name: row[name] for name in EXAMPLES.names}, key)
            written.append(shuffler.write(out / f"epoch-{epoch}", batch, ranks, identity_hash(seed, epoch)))
        counts = counts or seen
        check_filled(written[-1], batch, f"{written[-1].left_over} examples", "batch")
    return Written(written, dict(counts))


def _named(row: dict, scale: Scale) -> str:
    """The allowed grades in words: `2`, or `2-3` where a label leaves it open."""
    lowest, highest = scale.grades[row["lowest"]], scale.grades[row["highest"]]
    return str(lowest) if lowest == highest else f"{lowest}-{highest}"


def _example_key(seed: int, epoch: int, row: dict) -> int:
    return identity_hash(seed, epoch, row["query_id"], row["doc_id"])
