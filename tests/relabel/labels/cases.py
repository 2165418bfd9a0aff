"""Seeded random tables for the tests of the rules: pairs, judgements that miss some of them, and their scales."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from relabel.records import JUDGEMENTS, PAIRS, Scale

BINARY = Scale((0, 1), 1)
GRADED = Scale((0, 1, 2, 3), 2)
FROM_ONE = Scale((1, 2, 3, 4), 3)


def make_pairs(labels, seed: int = 0, queries: int = 4, words: int = 5) -> pa.Table:
    """One pair a label (None = unlabelled); the rows of a query are contiguous."""
    rows = len(labels)
    rng = np.random.default_rng(seed)
    of_query = np.sort(rng.integers(0, queries, rows))
    vocabulary = np.array([f"word{n}" for n in range(200)])
    texts = [" ".join(words_) for words_ in vocabulary[rng.integers(0, 200, (rows, words))]]
    return pa.table(
        {
            "query_id": [f"q{n:05d}" for n in of_query],
            "doc_id": [f"d{n:07d}" for n in range(rows)],
            "query": [f"what is {n}" for n in of_query],
            "title": [f"title {n}" for n in range(rows)],
            "text": texts,
            "label": pa.array(labels, pa.float32()),
            "label_source": ["unlabelled" if label is None else "given" for label in labels],
            "query_frequency": pa.nulls(rows, pa.int64()),
            "first_stage_rank": pa.nulls(rows, pa.int32()),
            "first_stage_score": pa.nulls(rows, pa.float32()),
        },
        PAIRS,
    )


def make_judgements(pairs: pa.Table, probabilities, scale: Scale, judge_id: str = "j1") -> pa.Table:
    """One judgement a pair from its distribution [grades]; None = the judge quarantined the pair."""
    judged = [row for row, p in enumerate(probabilities) if p is not None]
    p = np.array([probabilities[row] for row in judged], np.float64).reshape(-1, len(scale.grades))
    grades = np.array(scale.grades)
    return pa.table(
        {
            "query_id": pairs["query_id"].take(pa.array(judged, pa.int64())),
            "doc_id": pairs["doc_id"].take(pa.array(judged, pa.int64())),
            "grade": pa.array(grades[p.argmax(axis=1)], pa.int32()),
            "score": pa.array((p * grades).sum(axis=1), pa.float32()),
            "probabilities": pa.array(list(p.astype(np.float32)), pa.list_(pa.float32())),
            "logprobs": pa.array(list(np.log(p + 1e-9).astype(np.float32)), pa.list_(pa.float32())),
            "off_label_mass": pa.array(np.zeros(len(judged)), pa.float32()),
            "prompt_tokens": pa.array(np.full(len(judged), 100), pa.int32()),
            "truncated": pa.array(np.zeros(len(judged), bool)),
            "judge_id": pa.array([judge_id] * len(judged), pa.string()),
        },
        JUDGEMENTS,
    )


def random_case(seed: int, rows: int = 300):
    """(pairs, judgements, pairs scale, judge scale): scales, unlabelled and unjudged shares differ by seed."""
    rng = np.random.default_rng(seed)
    pairs_scale = (BINARY, GRADED, FROM_ONE)[seed % 3]
    judge_scale = (GRADED, FROM_ONE, BINARY, GRADED)[seed % 4]
    labels = rng.choice(pairs_scale.grades, rows).astype(float).tolist()
    unlabelled = rng.random(rows) < (0.0, 0.3, 1.0)[seed % 3 if seed < 9 else 1]
    labels = [None if missing else label for label, missing in zip(labels, unlabelled, strict=True)]
    p = rng.dirichlet(np.full(len(judge_scale.grades), 0.5), rows)
    p = [None if rng.random() < 0.1 else row for row in p]
    pairs = make_pairs(labels, seed, queries=max(1, rows // 12))
    return pairs, make_judgements(pairs, p, judge_scale), pairs_scale, judge_scale
