"""Judges whose answer is one number a pair: the number becomes a distribution over grades by a declared map.

A score's log-odds x become Binomial(grades − 1, σ(x)) over the grades: strictly monotone in x, so that orders and AUCs
are those of the score, and nothing is fitted. What the grades are then worth, agreement tells; a map that was fitted
on human grades is a panel with this judge as its one member (`relabel fit-panel`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Protocol

import numpy as np
import pyarrow as pa

from relabel.judges.base import Judged, judgement_table, unjudgeable
from relabel.records import Scale
from relabel.tables import quarantine_table


@dataclass(frozen=True)
class Scores:
    """Log-odds, tokens read and whether something was cut, each [pairs]."""

    log_odds: np.ndarray
    tokens: np.ndarray
    truncated: np.ndarray


class PairScorer(Protocol):
    """One number a pair, of that pair alone: never of the other rows that it comes with."""

    def scores(self, queries: list[str], titles: list[str], texts: list[str]) -> Scores:
        """Scores of pairs that have a query and a text; lists of one length."""
        ...


class ScoreJudge:
    """Grades by a bare score; `scale` is the prompt's, so that it can stand in for any judge."""

    def __init__(self, judge_id: str, scale: Scale, scorer: PairScorer):
        self.judge_id, self.scale, self._scorer = judge_id, scale, scorer

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        queries, titles, texts = (pairs.column(name).to_pylist() for name in ("query", "title", "text"))
        reasons = [unjudgeable(*row) for row in zip(queries, titles, texts, strict=True)]
        good = [row for row, reason in enumerate(reasons) if not reason]
        found = self._scorer.scores(*([column[row] for row in good] for column in (queries, titles, texts)))
        judgements = judgement_table(
            pairs.take(good) if len(good) < pairs.num_rows else pairs,
            binomial_logprobs(found.log_odds, len(self.scale.grades)),
            found.tokens,
            found.truncated,
            self,
        )
        return Judged(judgements, quarantine_table(pairs, reasons, source, "judge"), int(found.tokens.sum()))


def binomial_logprobs(log_odds: np.ndarray, grades: int) -> np.ndarray:
    """Log-probabilities [pairs, grades] of Binomial(grades − 1, σ(log_odds)); its expected degree is σ(log_odds)."""
    odds = np.asarray(log_odds, float)[:, None]
    grade = np.arange(grades)
    choose = np.log([comb(grades - 1, k) for k in grade])
    return choose - grade * np.logaddexp(0, -odds) - grade[::-1] * np.logaddexp(0, odds)


def log_odds_of(share: np.ndarray, edge: float = 0.001) -> np.ndarray:
    """log(share / (1 − share)) of shares in [0, 1], kept off both ends by `edge`."""
    share = np.clip(np.asarray(share, float), edge, 1 - edge)
    return np.log(share) - np.log1p(-share)
