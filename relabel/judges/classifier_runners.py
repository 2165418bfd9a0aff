"""What computes a classification head: vLLM's pooling runner, or transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from relabel.engine import Engine
from relabel.errors import InputError
from relabel.judges.config import JudgeConfig


class PooledScorer:
    """vLLM's pooling runner; same calls on CPU and GPU. See `classifier.ClassifierScorer`.

    Args:
        folder: local model folder (safetensors).
        limit: tokens of the longest pair.
        outputs: outputs of the head.
        segments: whether the model tells the two texts of a pair apart by token types.

    Raises:
        InputError: where vLLM does not serve the model's head.
    """

    def __init__(self, folder: Path, config: JudgeConfig, dtype: str, limit: int, outputs: int, segments: bool):
        try:
            self._engine = Engine(folder, config, dtype, limit, "pooling")
        except ValueError as error:
            if "not supported" not in str(error):
                raise
            raise _not_served(folder, str(error)) from None
        if not self._engine.classifies:
            raise _not_served(folder, "no classification head that vLLM serves")
        self._outputs, self._segments = outputs, segments

    def logits(self, inputs: list[dict[str, list[int]]]) -> np.ndarray:
        prompts = [(each["input_ids"], _second_segment(each) if self._segments else None) for each in inputs]
        refused = np.full(self._outputs, np.nan, np.float32)
        return np.array([refused if row is None else row.numpy() for row in self._engine.logits(prompts)], np.float32)


def _not_served(folder: Path, found: str) -> InputError:
    return InputError(
        f"model {folder}", found, "a classifier that vLLM's pooling runner serves", "--runner transformers"
    )


class TransformersClassifier:
    """A classifier in this process, in padded batches of similar length. See `classifier.ClassifierScorer`.

    Args:
        folder: local model folder (safetensors).
        tokenizer: the model's; it is given the model's padding token.
    """

    def __init__(self, folder: Path, config: JudgeConfig, dtype: str, tokenizer: Any):
        import torch
        from transformers import AutoModelForSequenceClassification

        self._tokenizer, self._batch_size = tokenizer, config.batch_size
        self._device = "cuda" if config.on_gpu else "cpu"
        if self._device == "cpu":
            torch.set_num_threads(config.compute_threads)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=getattr(torch, dtype), trust_remote_code=False, use_safetensors=True
        )
        # A causal model finds the last token of a text by its padding token: both must have the same.
        about = model.config.get_text_config()
        if about.pad_token_id is not None:
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(about.pad_token_id)
        elif self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        about.pad_token_id = model.config.pad_token_id = self._tokenizer.pad_token_id
        self._model = model.to(self._device).eval()

    def logits(self, inputs: list[dict[str, list[int]]]) -> np.ndarray:
        import torch

        found = [None] * len(inputs)
        order = sorted(range(len(inputs)), key=lambda row: len(inputs[row]["input_ids"]))
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            batch = self._tokenizer.pad([inputs[row] for row in rows], return_tensors="pt")
            with torch.inference_mode():
                logits = self._model(**batch.to(self._device)).logits.float().cpu().numpy()
            for row, values in zip(rows, logits, strict=True):
                found[row] = values
        return np.array(found, np.float32)


def _second_segment(each: dict[str, list[int]]) -> int | None:
    """Where a pair's second segment begins, for a model whose tokenizer tells segments apart, else None."""
    segments = each.get("token_type_ids")
    return segments.index(1) if segments and 1 in segments else None
