"""Seeded synthetic pairs of any number, streamed to a pairs table: a Zipf vocabulary of made-up words.

A query has 3–6 words; a document has 20–180 words (100 on average), of which a few are the query's for some pairs, so
that judges have something to find. The same seed gives the same table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from relabel.records import PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import Manifest, TableWriter

VOCABULARY = 20_000
DOCUMENTS_A_QUERY = 20
SYLLABLES = [c + v + e for c in "bcdfghklmnprstvz" for v in "aeiou" for e in ("", "n", "r", "s", "l")]


def write_pairs(folder: Folder, rows: int, seed: int = 0, chunk_rows: int = 20_000) -> Manifest:
    """A pairs table of `rows` rows with 0/1 labels; memory is that of one chunk."""
    writer = TableWriter(folder, "pairs", Scale((0, 1), 1))
    for chunk in synthetic_pairs(rows, seed, chunk_rows):
        writer.write(chunk)
    return writer.finish({"source": "synthetic", "seed": seed})


def synthetic_pairs(rows: int, seed: int, chunk_rows: int) -> Iterator[pa.Table]:
    """Chunks of `PAIRS`, the rows of a query contiguous and never in two chunks."""
    chunk_rows -= chunk_rows % DOCUMENTS_A_QUERY
    rng = np.random.default_rng(seed)
    words = vocabulary(rng)
    share = 1 / np.arange(2, VOCABULARY + 2)
    cumulative = np.cumsum(share / share.sum())
    for start in range(0, rows, chunk_rows):
        numbers = np.arange(start, min(rows, start + chunk_rows))
        yield _chunk(numbers, rng, words, cumulative)


def vocabulary(rng: np.random.Generator) -> np.ndarray:
    """`VOCABULARY` different words of one to four syllables, strings [words], short ones first (the frequent ones)."""
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        words["".join(rng.choice(SYLLABLES, rng.integers(1, 5)))] = None
    return np.array(sorted(words, key=len), object)


def _chunk(numbers: np.ndarray, rng: np.random.Generator, words: np.ndarray, cumulative: np.ndarray) -> pa.Table:
    def some(count: int) -> np.ndarray:
        return words[np.minimum(np.searchsorted(cumulative, rng.random(count)), VOCABULARY - 1)]

    query_of = numbers // DOCUMENTS_A_QUERY
    first, place = np.unique(query_of, return_inverse=True)
    queries = [" ".join(some(length)) for length in rng.integers(3, 7, len(first))]
    relevant = rng.random(len(numbers)) < 0.3
    texts = []
    for row, length in enumerate(rng.integers(20, 181, len(numbers))):
        text = " ".join(some(length))
        texts.append(f"{queries[place[row]]} {text}" if relevant[row] else text)
    noisy = np.where(rng.random(len(numbers)) < 0.2, ~relevant, relevant)
    return pa.table(
        {
            "query_id": [f"q{number:08d}" for number in query_of],
            "doc_id": [f"d{number:09d}" for number in numbers],
            "query": [queries[index] for index in place],
            "title": [""] * len(numbers),
            "text": texts,
            "label": pa.array(noisy.astype(np.float32)),
            "label_source": ["given"] * len(numbers),
            "query_frequency": pa.nulls(len(numbers), pa.int64()),
            "first_stage_rank": pa.array(numbers % DOCUMENTS_A_QUERY + 1, pa.int32()),
            "first_stage_score": pa.nulls(len(numbers), pa.float32()),
        },
        PAIRS,
    )
