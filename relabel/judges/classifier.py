"""A sequence classifier with one output a grade as a judge: an encoder or a language model with a classification head.

`model` is a folder that `AutoModelForSequenceClassification` opens. What it reads: query and document as a pair where
its tokenizer has a separator, else `TEMPLATE`; `max_query_tokens + max_document_tokens` tokens of both together, the
longer side cut first. The grades are those of the prompt's scale, lowest first, unless the model's `id2label` names
grades. Transformers computes it on every machine; vLLM's pooling runner has not been held against it yet.

    relabel judge --engine classifier --model DIR --pairs PAIRS --out OUT
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from relabel.errors import InputError
from relabel.hardware import cores
from relabel.judges.base import Judged, judgement_table, unjudgeable
from relabel.judges.config import JudgeConfig, judge_dtype, judge_id
from relabel.models import load_tokenizer, local_model
from relabel.prompts import prompt_named
from relabel.records import Scale
from relabel.scoring import document_text
from relabel.tables import quarantine_table

#: What a model without a separator token reads; it is cut at the end.
TEMPLATE = "Query: {query}\n\nDocument: {document}"


class ClassifierJudge:
    """A classification head whose softmax over the grades is the judgement; computed by transformers."""

    def __init__(self, judge_id: str, scale: Scale, order: list[int], config: JudgeConfig, dtype: str):
        import torch
        from transformers import AutoModelForSequenceClassification

        self.judge_id, self.scale, self._order, self._batch_size = judge_id, scale, order, config.batch_size
        self._device = "cuda" if config.on_gpu else "cpu"
        if self._device == "cpu":
            torch.set_num_threads(config.threads or max(1, cores() // config.actors))
        folder = local_model(config.model)
        self._tokenizer = load_tokenizer(folder)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=getattr(torch, dtype), trust_remote_code=False, use_safetensors=True
        )
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        if model.config.pad_token_id is None:  # a causal model finds its last token by it
            model.config.pad_token_id = self._tokenizer.pad_token_id
        self._model = model.to(self._device).eval()
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1_000_000
        budget = config.max_query_tokens + config.max_document_tokens
        self._limit = min(budget, int(min(self._tokenizer.model_max_length, 1_000_000)), positions)

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        queries, titles, texts = (pairs.column(name).to_pylist() for name in ("query", "title", "text"))
        reasons = [unjudgeable(*row) for row in zip(queries, titles, texts, strict=True)]
        good = [row for row, reason in enumerate(reasons) if not reason]
        documents = [document_text(titles[row], texts[row]) for row in good]
        full = self._sizes([queries[row] for row in good], documents)
        logprobs = self._logprobs([queries[row] for row in good], documents, full)
        tokens = np.minimum(full, self._limit).astype(np.int32)
        rows = pairs.take(pa.array(good, pa.int64()))
        judgements = judgement_table(rows, logprobs, tokens, full > self._limit, self)
        return Judged(judgements, quarantine_table(pairs, reasons, source, "judge"), int(tokens.sum()))

    def _logprobs(self, queries: list[str], documents: list[str], sizes: np.ndarray) -> np.ndarray:
        """Log-softmax of the grades' outputs [pairs, grades], in batches of similar length."""
        import torch

        found = np.zeros((len(queries), len(self._order)), np.float32)
        order = np.argsort(sizes, kind="stable")
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            inputs = self._encoded(
                [queries[row] for row in rows],
                [documents[row] for row in rows],
                truncation=True,
                max_length=self._limit,
                padding=True,
                return_tensors="pt",
            )
            with torch.inference_mode():
                logits = self._model(**inputs.to(self._device)).logits.float()
            found[rows] = torch.log_softmax(logits, -1)[:, self._order].cpu().numpy()
        return found

    def _sizes(self, queries: list[str], documents: list[str]) -> np.ndarray:
        if not queries:
            return np.zeros(0, int)
        return np.array([len(ids) for ids in self._encoded(queries, documents, verbose=False)["input_ids"]])

    def _encoded(self, queries: list[str], documents: list[str], **options):
        if self._tokenizer.sep_token:
            return self._tokenizer(queries, documents, **options)
        both = zip(queries, documents, strict=True)
        return self._tokenizer([TEMPLATE.format(query=query, document=text) for query, text in both], **options)


def output_order(folder: Path, scale: Scale) -> list[int]:
    """The model's output for each grade of the scale.

    Raises:
        InputError: where the model has no classification head, or another number of outputs or other grades than the
            scale.
    """
    values = json.loads((folder / "config.json").read_text("utf-8"))
    name = (values.get("architectures") or [""])[0]
    if not name.endswith("ForSequenceClassification"):
        raise InputError(f"model {folder}", f"a {name or 'model without an architecture'}", "a sequence classifier")
    labels = values.get("id2label") or {str(at): f"LABEL_{at}" for at in range(values.get("num_labels", 2))}
    names = [str(labels[at]) for at in sorted(labels, key=int)]
    grades = [str(grade) for grade in scale.grades]
    if len(names) == 1:
        raise InputError(
            f"model {folder}", "one output", f"one for each of the grades {grades}", "judge with --engine encoder"
        )
    if set(names) == set(grades):
        return [names.index(grade) for grade in grades]
    if len(names) != len(grades) or all(name.lstrip("-").isdigit() for name in names):
        raise InputError(
            f"model {folder}",
            f"outputs {names}",
            f"the grades {grades} of the prompt's scale",
            "choose a --prompt of the model's scale",
        )
    return list(range(len(grades)))


def build(config: JudgeConfig) -> ClassifierJudge:
    scale, dtype = prompt_named(config.prompt).scale, judge_dtype(config).value
    order = output_order(local_model(config.model), scale)
    return ClassifierJudge(judge_id(config, dtype), scale, order, config, dtype)
