"""Transformers as a scorer: the plain reference that vLLM is checked against, and the engine where vLLM is missing.

Prompts go through in batches of similar length, left-padded; the label log-probabilities come from the full
vocabulary at the last position.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from relabel.judges.base import PromptedJudge
from relabel.judges.config import JudgeConfig, judge_dtype
from relabel.models import local_model
from relabel.prompts.encoding import encoder_of


class TransformersScorer:
    """A causal language model in this process, on the GPU where there is one."""

    def __init__(self, folder: Path, config: JudgeConfig, dtype: str, label_token_ids: list[int]):
        import torch
        from transformers import AutoModelForCausalLM

        self._device = "cuda" if config.on_gpu else "cpu"
        if self._device == "cpu":
            torch.set_num_threads(config.compute_threads)
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), trust_remote_code=False, use_safetensors=True
        )
        _float32_head(self._model)
        self._model.to(self._device).eval()
        self._labels, self._batch_size = label_token_ids, config.batch_size

    def label_logprobs(self, prompts: list[list[int]]) -> np.ndarray:
        """See `LabelScorer`."""
        import torch

        scores = np.full((len(prompts), len(self._labels)), np.nan, np.float32)
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            width = max(len(prompts[row]) for row in rows)
            ids = torch.zeros((len(rows), width), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for place, row in enumerate(rows):
                ids[place, width - len(prompts[row]) :] = torch.tensor(prompts[row])
                mask[place, width - len(prompts[row]) :] = 1
            with torch.inference_mode():
                logits = self._model(
                    input_ids=ids.to(self._device),
                    attention_mask=mask.to(self._device),
                    position_ids=(mask.cumsum(1) - 1).clamp(min=0).to(self._device),
                    logits_to_keep=1,
                ).logits[:, -1]
                scores[rows] = torch.log_softmax(logits.float(), -1)[:, self._labels].cpu().numpy()
        return scores


def _float32_head(model) -> None:
    """Compute the logits in float32: in bfloat16 a logit near 16 has steps of 0.125, which ties grades."""
    import torch

    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().float(), requires_grad=False)
    head.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(),))


def build(config: JudgeConfig, judge_id: str) -> PromptedJudge:
    folder = local_model(config.model)
    dtype = judge_dtype(config).value
    encoder = encoder_of(config)
    scorer = TransformersScorer(folder, config, dtype, encoder.label_token_ids)
    return PromptedJudge(judge_id, encoder, scorer)
