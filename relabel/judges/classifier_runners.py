"""What computes a classification head: vLLM's pooling runner, or transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from relabel.engine import Engine
from relabel.errors import InputError
from relabel.hardware import cores
from relabel.judges.config import JudgeConfig


class PooledScorer:
    """vLLM's pooling runner; same calls on CPU and GPU. See `classifier.ClassifierScorer`.

    Args:
        folder: local model folder (safetensors).
        limit: tokens of the longest pair.

    Raises:
        InputError: where vLLM does not serve the model.
    """

    def __init__(self, folder: Path, config: JudgeConfig, dtype: str, limit: int):
        try:
            self._engine = Engine(folder, config, dtype, limit, "pooling")
        except ValueError as error:
            found = f"vLLM's pooling runner does not take it: {error}"
            raise InputError(
                f"model {folder}", found, "a classifier that it serves", "add --runner transformers"
            ) from None

    def logits(self, inputs: list[dict[str, list[int]]]) -> np.ndarray:
        found = self._engine.logits([(each["input_ids"], _second_segment(each)) for each in inputs])
        width = next((len(logits) for logits in found if logits is not None), 1)
        rows = [np.full(width, np.nan) if logits is None else logits.float().cpu().numpy() for logits in found]
        return np.array(rows, np.float32)


class TransformersClassifier:
    """A classifier in this process, in padded batches of similar length. See `classifier.ClassifierScorer`."""

    def __init__(self, folder: Path, config: JudgeConfig, dtype: str, tokenizer: Any):
        import torch
        from transformers import AutoModelForSequenceClassification

        self._tokenizer, self._batch_size = tokenizer, config.batch_size
        self._device = "cuda" if config.on_gpu else "cpu"
        if self._device == "cpu":
            torch.set_num_threads(config.threads or max(1, cores() // config.actors))
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=getattr(torch, dtype), trust_remote_code=False, use_safetensors=True
        )
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        if model.config.pad_token_id is None:  # a causal model finds its last token by it
            model.config.pad_token_id = self._tokenizer.pad_token_id
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
