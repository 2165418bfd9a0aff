"""A judge without a model: the share of the query's words that the document has. Seconds, same path as the others.

The coverage c in [0, 1] of the query's distinct words by the document becomes the distribution
Binomial(grades − 1, c) over the grades, so that its expected grade is linear in c.
"""

from __future__ import annotations

import re
from math import comb

import numpy as np
import pyarrow as pa

from relabel.judges.base import Judged, judgement_table, quarantine_table, unjudgeable
from relabel.judges.config import JudgeConfig, judge_id
from relabel.prompts import prompt_named
from relabel.records import Scale

WORD = re.compile(r"\w+")
#: English function words; they say nothing about coverage.
FUNCTION_WORDS = frozenset(
    WORD.findall(
        "a an and are as at be by can do does for from how i if in is it its me my of on or that the this to was what "
        "when where which who why will with you your"
    )
)


class LexicalJudge:
    """Grades by coverage of the query's words; `scale` is the prompt's, so that it can stand in for any judge."""

    def __init__(self, judge_id: str, scale: Scale):
        self.judge_id, self.scale = judge_id, scale
        top = len(scale.grades) - 1
        self._choose = np.array([comb(top, grade) for grade in range(top + 1)])

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        queries, titles, texts = (pairs.column(name).to_pylist() for name in ("query", "title", "text"))
        reasons = [unjudgeable(*row) for row in zip(queries, titles, texts, strict=True)]
        good = [row for row, reason in enumerate(reasons) if not reason]
        words_of = {query: query_words(query) for query in set(queries)}
        coverage, tokens = np.zeros(len(good)), np.zeros(len(good), np.int32)
        for place, row in enumerate(good):
            wanted = words_of[queries[row]]
            document = WORD.findall(f"{titles[row]} {texts[row]}".lower())
            coverage[place] = len(wanted.intersection(document)) / len(wanted)
            tokens[place] = len(document)
        judgements = judgement_table(
            pairs.take(good) if len(good) < pairs.num_rows else pairs,
            self.logprobs(coverage),
            tokens,
            np.zeros(len(good), bool),
            self,
        )
        return Judged(judgements, quarantine_table(pairs, reasons, source), int(tokens.sum()))

    def logprobs(self, coverage: np.ndarray) -> np.ndarray:
        """Binomial log-probabilities of the grades, [rows, grades], coverage kept off 0 and 1 by 0.001."""
        share = np.clip(coverage, 0.001, 0.999)[:, None]
        grade = np.arange(len(self._choose))
        return np.log(self._choose) + grade * np.log(share) + grade[::-1] * np.log1p(-share)


def query_words(query: str) -> frozenset[str]:
    """Distinct words of a query without function words; all of them, or the query itself, where none would be left."""
    words = frozenset(WORD.findall(query.lower()))
    return words - FUNCTION_WORDS or words or frozenset([query])


def build(config: JudgeConfig) -> LexicalJudge:
    return LexicalJudge(judge_id(config, "none"), prompt_named(config.prompt).scale)
