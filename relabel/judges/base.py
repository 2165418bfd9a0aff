"""What every judge gives, and the part that judges with a prompt share: dedup, order, distributions, isolation.

Input: a table of `records.PAIRS`. Output: rows of `records.JUDGEMENTS` in the same order, and rows of
`records.QUARANTINE` for pairs that cannot be judged. Invariant: rows in = judged + quarantined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from relabel.prompts.encoding import PromptEncoder
from relabel.records import JUDGEMENTS, Scale
from relabel.tables import quarantine_table


@dataclass(frozen=True)
class Judged:
    """What came of a table of pairs; `tokens` counts prompt tokens that an engine was given."""

    judgements: pa.Table
    quarantined: pa.Table
    tokens: int


class Judge(Protocol):
    """Anything that grades pairs by a distribution over `scale`."""

    judge_id: str
    scale: Scale

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        """Judge a table of pairs; `source` (file:first row) names it in quarantine rows."""
        ...


class LabelScorer(Protocol):
    """An engine: log-probabilities of the grade tokens as the next token after each prompt."""

    def label_logprobs(self, prompts: list[list[int]]) -> np.ndarray:
        """Natural-log probabilities over the whole vocabulary, [prompts, labels]; NaN rows for refused prompts."""
        ...


class PromptedJudge:
    """A judge that asks a language model once per different prompt.

    Equal prompts are asked once. Prompts are asked in the order of their tokens, so that neighbours share prefixes
    and the result of a shard does not depend on the order of its rows.
    """

    def __init__(self, judge_id: str, encoder: PromptEncoder, scorer: LabelScorer):
        self.judge_id, self.encoder, self.scorer = judge_id, encoder, scorer
        self.scale = encoder.prompt.scale

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        queries, titles, texts = (pairs.column(name).to_pylist() for name in ("query", "title", "text"))
        reasons = [unjudgeable(*row) for row in zip(queries, titles, texts, strict=True)]
        rows = [row for row, reason in enumerate(reasons) if not reason]
        encoded = self.encoder.encode(
            [queries[row] for row in rows], [titles[row] for row in rows], [texts[row] for row in rows]
        )
        unique = sorted({tuple(prompt.token_ids) for prompt in encoded})
        place = {prompt: index for index, prompt in enumerate(unique)}
        scores = self.scorer.label_logprobs([list(prompt) for prompt in unique]) if unique else np.zeros((0, 0))
        logprobs = np.full((len(queries), len(self.scale.grades)), np.nan, np.float32)
        tokens, truncated = np.zeros(len(queries), np.int32), np.zeros(len(queries), bool)
        for row, prompt in zip(rows, encoded, strict=True):
            logprobs[row] = scores[place[tuple(prompt.token_ids)]]
            tokens[row], truncated[row] = len(prompt.token_ids), prompt.truncated
        for row in rows:
            if not np.isfinite(logprobs[row]).all():
                reasons[row] = ("engine-refused", "the engine gave no finite log-probabilities for this prompt")
        good = [row for row, reason in enumerate(reasons) if not reason]
        judgements = judgement_table(pairs.take(good), logprobs[good], tokens[good], truncated[good], self)
        return Judged(judgements, quarantine_table(pairs, reasons, source, "judge"), sum(map(len, unique)))


def unjudgeable(query: str, title: str, text: str) -> tuple[str, str] | None:
    """Reason and detail where a pair has nothing to judge, else None."""
    if not query.strip():
        return "empty-query", "the query has no characters but spaces"
    if not text.strip() and not title.strip():
        return "empty-text", "title and text have no characters but spaces"
    return None


def judgement_table(
    pairs: pa.Table,
    logprobs: np.ndarray,
    tokens: np.ndarray,
    truncated: np.ndarray,
    judge: Judge,
    classes: np.ndarray | None = None,
) -> pa.Table:
    """Judgements from raw label log-probabilities [rows, grades]: renormalised over the grades, the rest kept as
    `off_label_mass` = 1 − Σp. `classes` are the places of the grades to call each pair; None: the most probable."""
    logprobs = np.asarray(logprobs, np.float64).reshape(pairs.num_rows, len(judge.scale.grades))
    mass = np.exp(logprobs)
    total = mass.sum(axis=1, keepdims=True)
    shifted = np.exp(logprobs - logprobs.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    grades = np.asarray(judge.scale.grades)
    columns = {
        "query_id": pairs.column("query_id"),
        "doc_id": pairs.column("doc_id"),
        "grade": grades[probabilities.argmax(axis=1) if classes is None else classes],
        "score": probabilities @ grades,
        "probabilities": _lists(probabilities),
        "logprobs": _lists(logprobs),
        "off_label_mass": np.clip(1 - total[:, 0], 0, 1),
        "prompt_tokens": tokens,
        "truncated": truncated,
        "judge_id": pa.repeat(pa.scalar(judge.judge_id, pa.string()), pairs.num_rows),
    }
    arrays = []
    for field in JUDGEMENTS:
        column = columns[field.name]
        if isinstance(column, np.ndarray):
            column = pa.array(column.astype(field.type.to_pandas_dtype()), field.type)
        arrays.append(column)
    return pa.table(arrays, schema=JUDGEMENTS)


def _lists(values: np.ndarray) -> pa.Array:
    rows, width = values.shape
    flat = pa.array(values.astype(np.float32).ravel(), pa.float32())
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * width, pa.int32()), flat)
