"""Rankings of a judged pool, where there are no run files: cheap systems from good to bad, to be ordered by graders.

In: a pairs table; out: a score for each of its rows, a system at a time. The systems:

- BM25 as the first stage has it (k1 0.9, b 0.4); with k1 1.2, b 0.75; without length normalisation (k1 0.9, b 0);
  with strong normalisation (k1 3, b 1); of the first 16 words of a document alone;
- the idf-weighted share of the query's words that a document has (BM25 with k1 0, b 0);
- the share of all words of query and document that both have (Jaccard);
- longest first, shortest first, a random order, and BM25 from worst to best;
- the first stage's own order where every pair has its score, and an untrained encoder where one is named.

They rank the judged documents alone, share words as their one source but for the encoder, and lie further apart than
the systems of an evaluation campaign: agreement on their order is easier than on that of real competitors, and the
findings say that they were built here. Invariant: no system reads a grade.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from relabel.prepare.first_stage import BM25Ranker
from relabel.scoring import encoder_scores

#: Name → (k1, b).
BM25_SETTINGS = {
    "BM25 (k1 0.9, b 0.4)": (0.9, 0.4),
    "BM25 (k1 1.2, b 0.75)": (1.2, 0.75),
    "BM25 without length (k1 0.9, b 0)": (0.9, 0.0),
    "BM25 with strong length (k1 3, b 1)": (3.0, 1.0),
    "shared words by idf": (0.0, 0.0),
}
#: Words of a document that the system of first words reads.
FIRST_WORDS = 16
_WORD = re.compile(r"\w\w+")


def pool_rankings(pairs: pa.Table, zero_shot: str | None, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, scores [rows]) of every system.

    Args:
        pairs: a pairs table; each query's rows are its pool.
        zero_shot: an untrained encoder (package model or folder); None leaves it out.
        seed: of the random order.
    """
    documents = dict(zip(pairs["doc_id"].to_pylist(), _texts(pairs), strict=True))
    for name, (k1, b) in BM25_SETTINGS.items():
        scores = _bm25(pairs, documents, k1, b)
        yield name, scores
        if name == "BM25 (k1 0.9, b 0.4)":
            yield f"{name}, worst first", -scores
    begun = {doc_id: " ".join(text.split()[:FIRST_WORDS]) for doc_id, text in documents.items()}
    yield f"BM25 of the first {FIRST_WORDS} words", _bm25(pairs, begun, 0.9, 0.4)
    yield "share of common words", _jaccard(pairs, documents)
    lengths = np.array([len(text.split()) for text in _texts(pairs)], float)
    yield "longest first", lengths
    yield "shortest first", -lengths
    yield "random order", np.random.default_rng(seed).random(pairs.num_rows)
    if pairs.num_rows and not pairs["first_stage_score"].null_count:
        yield "first stage", pairs["first_stage_score"].to_numpy().astype(float)
    if zero_shot:
        yield "zero-shot encoder", encoder_scores(zero_shot, pairs)


def _texts(pairs: pa.Table) -> list[str]:
    return [
        f"{title}\n{text}" for title, text in zip(pairs["title"].to_pylist(), pairs["text"].to_pylist(), strict=True)
    ]


def _bm25(pairs: pa.Table, documents: dict[str, str], k1: float, b: float) -> np.ndarray:
    ranker = BM25Ranker(list(documents), documents.values(), k1, b)
    place = {doc_id: number for number, doc_id in enumerate(documents)}
    columns = np.array([place[doc_id] for doc_id in pairs["doc_id"].to_pylist()])
    scores, queries = np.empty(pairs.num_rows), np.array(pairs["query"].to_pylist(), dtype=object)
    for query in dict.fromkeys(queries):
        rows = queries == query
        scores[rows] = ranker.scores(query)[columns[rows]]
    return scores


def _jaccard(pairs: pa.Table, documents: dict[str, str]) -> np.ndarray:
    words = {doc_id: _words(text) for doc_id, text in documents.items()}
    asked = {query: _words(query) for query in pairs["query"].unique().to_pylist()}
    rows = zip(pairs["query"].to_pylist(), pairs["doc_id"].to_pylist(), strict=True)
    return np.array([len(asked[q] & words[d]) / max(len(asked[q] | words[d]), 1) for q, d in rows])


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
