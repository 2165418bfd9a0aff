"""A judge that looks at one thing only: how many words title and text have. A baseline, and a member of panels.

The share of n words is n / (n + 100), so that its log-odds are ln(n / 100) (see `bare_score`). A judge that is no
better than this one has learnt that long passages are relevant more often, and little else.
"""

from __future__ import annotations

import numpy as np

from relabel.judges.bare_score import ScoreJudge, Scores
from relabel.judges.config import JudgeConfig
from relabel.judges.lexical import WORD
from relabel.prompts import prompt_named

#: Words of a document whose expected grade is the middle of the scale.
MIDDLE = 100


class Length:
    """Words of a document."""

    def scores(self, queries: list[str], titles: list[str], texts: list[str]) -> Scores:
        """See `PairScorer`; a document of signs alone counts as one word."""
        both = zip(titles, texts, strict=True)
        words = np.array([len(WORD.findall(f"{title} {text}")) for title, text in both], np.int32)
        return Scores(np.log(np.maximum(words, 1) / MIDDLE), words, np.zeros(len(words), bool))


def build(config: JudgeConfig, judge_id: str) -> ScoreJudge:
    return ScoreJudge(judge_id, prompt_named(config.prompt).scale, Length())
