"""A judge without a model: the share of the query's words that the document has. Seconds, same path as the others.

The coverage c in [0, 1] of the query's distinct words by the document is the score, its log-odds those of c kept off
0 and 1 by 0.001 (see `bare_score`), so that the expected grade is linear in c.
"""

from __future__ import annotations

import re

import numpy as np

from relabel.judges.bare_score import ScoreJudge, Scores, log_odds_of
from relabel.judges.config import JudgeConfig
from relabel.prompts import prompt_named

WORD = re.compile(r"\w+")
#: English function words; they say nothing about coverage.
FUNCTION_WORDS = frozenset(
    WORD.findall(
        "a an and are as at be by can do does for from how i if in is it its me my of on or that the this to was what "
        "when where which who why will with you your"
    )
)
#: ASCII letters in lower case, digits and `_` as they are, every other byte a space.
_LOWER_WORDS = bytes(ord(chr(byte).lower()) if WORD.match(chr(byte)) and byte < 128 else 32 for byte in range(256))


class Coverage:
    """The share of a query's words that the document has."""

    def scores(self, queries: list[str], titles: list[str], texts: list[str]) -> Scores:
        """See `PairScorer`; tokens are the document's words."""
        words_of = {query: frozenset(map(str.encode, query_words(query))) for query in set(queries)}
        coverage, tokens = np.zeros(len(queries)), np.zeros(len(queries), np.int32)
        for row, query in enumerate(queries):
            wanted = words_of[query]
            document = words(f"{titles[row]} {texts[row]}")
            coverage[row] = len(wanted.intersection(document)) / len(wanted)
            tokens[row] = len(document)
        return Scores(log_odds_of(coverage), tokens, np.zeros(len(queries), bool))


def words(text: str) -> list[bytes]:
    """The words of a text (runs of `WORD`) in lower case, UTF-8; ASCII alone goes through two passes in C."""
    if text.isascii():
        return text.encode().translate(_LOWER_WORDS).split()
    return [word.encode() for word in WORD.findall(text.lower())]


def query_words(query: str) -> frozenset[str]:
    """Distinct words of a query without function words; all of them, or the query itself, where none would be left."""
    words = frozenset(WORD.findall(query.lower()))
    return words - FUNCTION_WORDS or words or frozenset([query])


def build(config: JudgeConfig, judge_id: str) -> ScoreJudge:
    return ScoreJudge(judge_id, prompt_named(config.prompt).scale, Coverage())
