"""The similarity of an encoder as a judge: cosine of a bi-encoder, logit of a cross-encoder (see `relabel.scoring`).

The log-odds of a cosine c are those of (1 + c) / 2, which is twice Fisher's z = artanh(c); those of a cross-encoder are
its logit. Scores depend on the pair alone but for rounding (in float32 about 1e-6), so `auto` computes in float32.
"""

from __future__ import annotations

import numpy as np

from relabel.judges.bare_score import ScoreJudge, Scores, log_odds_of
from relabel.judges.config import JudgeConfig, judge_dtype
from relabel.models import local_model
from relabel.prompts import prompt_named
from relabel.scoring import TextScorer, document_text


class Similarity:
    """A sentence-transformers folder in this process.

    Documents are read up to `max_document_tokens` and queries up to `max_query_tokens` by a bi-encoder; a cross-encoder
    reads the sum of both of a pair. The model's own limit holds besides.
    """

    def __init__(self, config: JudgeConfig, dtype: str):
        import torch

        device = "cuda" if config.on_gpu else "cpu"
        if device == "cpu":
            torch.set_num_threads(config.compute_threads)
        limits = {"query": config.max_query_tokens, "document": config.max_document_tokens}
        limits["pair"] = sum(limits.values())
        self._scorer = TextScorer(local_model(config.model), config.batch_size, dtype, device, limits, logits=True)

    def scores(self, queries: list[str], titles: list[str], texts: list[str]) -> Scores:
        """See `PairScorer`."""
        documents = [document_text(*both) for both in zip(titles, texts, strict=True)]
        scores = self._scorer.scores(queries, documents)
        if self._scorer.architecture == "bi-encoder":
            scores = log_odds_of((1 + scores) / 2, edge=1e-6)
        tokens, truncated = self._scorer.lengths(queries, documents)
        return Scores(scores, tokens.astype(np.int32), truncated)


def build(config: JudgeConfig, judge_id: str) -> ScoreJudge:
    return ScoreJudge(judge_id, prompt_named(config.prompt).scale, Similarity(config, judge_dtype(config).value))
