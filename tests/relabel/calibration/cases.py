"""Simulated judges of known calibration: queries that differ, human grades, and what the judge says of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from relabel.calibration.method import log_normalised
from relabel.records import JUDGEMENTS, PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter

GRADED = Scale((0, 1, 2, 3), 2)
BINARY = Scale((0, 1), 1)
SHARES = np.array([0.5, 0.2, 0.2, 0.1])


def simulate(queries: int, pairs: int, seed: int, sharpness: float = 1.0, biases=(0, 0, 0, 0)):
    """Log-probabilities [rows, 4], overstated `sharpness` times and shifted; true grades [rows] and queries [rows].

    A distribution is drawn for each pair and its grade from it, so that before distortion it is calibrated.
    """
    random = np.random.default_rng(seed)
    rows = queries * pairs
    query = np.repeat(np.arange(queries), pairs)
    leaning = random.normal(0, 0.7, queries)[query]
    feature = random.normal(size=rows) + leaning
    honest = log_normalised(np.log(SHARES) + 1.5 * feature[:, None] * np.array([-1.0, -0.2, 0.4, 0.8]))
    truth = (np.cumsum(np.exp(honest), axis=1) < random.random(rows)[:, None]).sum(axis=1).clip(max=3)
    return log_normalised(sharpness * honest + np.array(biases, float)), truth, query


def write_case(folder: Folder, logprobs, grades, query, human_scale=GRADED, judge_scale=GRADED, about=None) -> None:
    """Tables `human` and `judged` below `folder`; document n belongs to row n."""
    rows = len(grades)
    ids = {"query_id": [f"q{n}" for n in query], "doc_id": [f"d{n}" for n in range(rows)]}
    pairs = pa.table(
        ids
        | {
            "query": [f"question number {n}" for n in query],
            "title": [""] * rows,
            "text": ["text"] * rows,
            "label": pa.array(grades, pa.float32()),
            "label_source": ["human"] * rows,
            "query_frequency": pa.nulls(rows, pa.int64()),
            "first_stage_rank": pa.nulls(rows, pa.int32()),
            "first_stage_score": pa.nulls(rows, pa.float32()),
        },
        PAIRS,
    )
    probabilities = np.exp(log_normalised(logprobs))
    values = np.array(judge_scale.grades)
    judged = pa.table(
        ids
        | {
            "grade": pa.array(values[probabilities.argmax(axis=1)], pa.int32()),
            "score": pa.array((probabilities @ values).astype(np.float32)),
            "probabilities": pa.array(list(probabilities.astype(np.float32)), pa.list_(pa.float32())),
            "logprobs": pa.array(list(np.asarray(logprobs, np.float32)), pa.list_(pa.float32())),
            "off_label_mass": pa.array(np.zeros(rows, np.float32)),
            "prompt_tokens": pa.array(np.ones(rows, np.int32)),
            "truncated": pa.array(np.zeros(rows, bool)),
            "judge_id": ["lexical-raw"] * rows,
        },
        JUDGEMENTS,
    )
    for name, kind, table, scale in (
        ("human", "pairs", pairs, human_scale),
        ("judged", "judgements", judged, judge_scale),
    ):
        writer = TableWriter(folder / name, kind, scale)
        writer.write(table)
        writer.finish(({"judge_id": "lexical-raw"} | (about or {})) if kind == "judgements" else {})
