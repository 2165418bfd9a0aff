"""vLLM as a scorer: one prompt in, log-probabilities of the grade tokens out. Same calls on CPU and GPU.

Judging asks for one token (`max_tokens=1`) with the log-probabilities of the grade tokens (`logprob_token_ids`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from relabel.engine import Engine
from relabel.judges.base import PromptedJudge
from relabel.judges.config import JudgeConfig, judge_dtype
from relabel.models import local_model
from relabel.prompts.encoding import encoder_of


class VllmScorer:
    """The grade tokens' log-probabilities from an engine.

    Args:
        folder: local model folder (safetensors).
        label_token_ids: grade tokens, at most 128.
        max_prompt_tokens: longest prompt that will be given.
    """

    def __init__(
        self, folder: Path, config: JudgeConfig, dtype: str, label_token_ids: list[int], max_prompt_tokens: int
    ):
        from vllm import SamplingParams

        self._engine = Engine(folder, config, dtype, max_prompt_tokens + 1)
        self._labels = label_token_ids
        self._sampling = SamplingParams(
            max_tokens=1, temperature=0, logprob_token_ids=label_token_ids, detokenize=False
        )

    def label_logprobs(self, prompts: list[list[int]]) -> np.ndarray:
        """See `LabelScorer`; a prompt that the engine refuses gets NaN."""
        answers = self._engine.answers(prompts, self._sampling)
        return np.array([self._of(answer) for answer in answers], np.float32).reshape(len(prompts), -1)

    def _of(self, answer) -> list[float]:
        if answer is None:
            return [np.nan] * len(self._labels)
        logprobs = answer.logprobs[0]
        return [logprobs[token].logprob for token in self._labels]


def build(config: JudgeConfig, judge_id: str) -> PromptedJudge:
    folder = local_model(config.model)
    dtype = judge_dtype(config).value
    encoder = encoder_of(config)
    scorer = VllmScorer(folder, config, dtype, encoder.label_token_ids, encoder.max_prompt_tokens)
    return PromptedJudge(judge_id, encoder, scorer)
