"""The table that a judge is tried on: pairs chosen from a pairs table, each as it is and once a perturbation.

    pairs → pairs, `doc_id` = `<document>#original` or `<document>#<perturbation>`

A variant has no label and the source `perturbed`, for nobody graded it; the original beside it keeps its own. What a
perturbation leaves as it is gets no row. Invariant: keys stay unique, and a pair's rows follow one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import pyarrow as pa

from relabel.errors import InputError
from relabel.records import PAIRS
from relabel.robustness import Pair, Setting, chance, perturbation_named
from relabel.storage import Folder
from relabel.tables import read_parts, read_whole

SEPARATOR, ORIGINAL = "#", "original"
#: What variants say instead of who labelled them.
SOURCE = "perturbed"


def variant_id(doc_id: str, variant: str) -> str:
    return f"{doc_id}{SEPARATOR}{variant}"


def document_of(doc_id: str) -> tuple[str, str]:
    """The document's id and the variant of a row; ids may contain `#` themselves."""
    document, _, variant = doc_id.rpartition(SEPARATOR)
    return document, variant


def chosen_pairs(pairs: Folder, most: int, seed: int) -> pa.Table:
    """At most `most` labelled rows of a pairs table in their order, spread as `spread_rows` does.

    Raises:
        InputError: where no pair has a label.
    """
    keys = read_whole(pairs, "pairs", ["query_id", "doc_id", "label"])
    chosen = spread_rows(*(keys[name].to_pylist() for name in ("query_id", "doc_id", "label")), most, seed)
    if not len(chosen):
        raise InputError(
            pairs.uri, "no labelled pair", "pairs with labels, best by people", "name the held-out human grades"
        )
    return pa.concat_tables(_taken(pairs, chosen)).combine_chunks()


def _taken(pairs: Folder, rows: np.ndarray) -> Iterator[pa.Table]:
    start = 0
    for table in read_parts(pairs, "pairs"):
        inside = rows[(rows >= start) & (rows < start + table.num_rows)]
        yield table.take(pa.array(inside - start))
        start += table.num_rows


def spread_rows(
    query_ids: Sequence[str], doc_ids: Sequence[str], labels: Sequence[float | None], most: int, seed: int
) -> np.ndarray:
    """Row numbers, ascending, of at most `most` labelled rows: of each label about equally many while there are such
    rows, and of each query about equally many inside a label; which ones is chance (`seed`)."""
    rows = [row for row, label in enumerate(labels) if label is not None]
    rows.sort(key=lambda row: chance(seed, query_ids[row], doc_ids[row]).random())
    in_query, in_label = Counter(), Counter()
    turn = {}
    for row in rows:
        turn[row] = in_query[labels[row], query_ids[row]]
        in_query[labels[row], query_ids[row]] += 1
    place = {}
    for row in sorted(rows, key=turn.__getitem__):
        place[row] = in_label[labels[row]]
        in_label[labels[row]] += 1
    return np.sort(np.array(sorted(rows, key=place.__getitem__)[:most], np.int64))


def variants(pairs: pa.Table, perturbations: Sequence[str], answer: str, seed: int) -> pa.Table:
    """Each row of `pairs` as it is, then perturbed by each of `perturbations` that changes it.

    Args:
        pairs: rows of a pairs table.
        answer: the prompt's label of the highest grade.

    Raises:
        ConfigError: for an unknown perturbation.
    """
    known = [perturbation_named(name) for name in perturbations]
    rows, written = pairs.to_pylist(), []
    for number, row in enumerate(rows):
        written.append(row | {"doc_id": variant_id(row["doc_id"], ORIGINAL)})
        before = Pair(row["query"], row["title"], row["text"])
        for perturbation in known:
            random = chance(seed, perturbation.name, row["query_id"], row["doc_id"])
            other = _other_text(rows, number, random)
            after = perturbation.apply(before, Setting(random, answer, other))
            if after != before:
                written.append(_variant(row, after, perturbation.name))
    return pa.Table.from_pylist(written, schema=PAIRS)


def _variant(row: dict, pair: Pair, name: str) -> dict:
    unknown = {"label": None, "label_source": SOURCE, "first_stage_rank": None, "first_stage_score": None}
    return row | pair._asdict() | {"doc_id": variant_id(row["doc_id"], name)} | unknown


def _other_text(rows: list[dict], number: int, random: Random) -> str:
    """The text of the first row of another query after a random place; "" where there is none."""
    start = random.randrange(len(rows))
    for step in range(len(rows)):
        other = rows[(start + step) % len(rows)]
        if other["query_id"] != rows[number]["query_id"] and other["text"].strip():
            return other["text"]
    return ""
