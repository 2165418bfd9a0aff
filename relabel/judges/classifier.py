"""A sequence classifier with one output a grade as a judge: an encoder or a language model with a classification head.

`model` is a folder that `AutoModelForSequenceClassification` opens. What it reads: query and document as a pair where
its tokenizer has a separator, else `TEMPLATE`; `max_query_tokens + max_document_tokens` tokens of both together, the
longer side cut first. The grades are those of the prompt's scale, lowest first, unless the model's `id2label` names
grades. vLLM's pooling runner computes it for the architectures of `POOLED`, else transformers (`runner`).

    relabel judge --engine classifier --model DIR --pairs PAIRS --out OUT
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from relabel.calibration.method import log_normalised
from relabel.errors import InputError
from relabel.judges.base import Judged, judgement_table, unjudgeable
from relabel.judges.config import JudgeConfig, judge_dtype
from relabel.models import load_tokenizer, local_model
from relabel.prompts import prompt_named
from relabel.records import Scale
from relabel.scoring import document_text
from relabel.tables import quarantine_table

#: What a model without a separator token reads; it is cut at the end.
TEMPLATE = "Query: {query}\n\nDocument: {document}"
#: Architectures whose outputs by vLLM's pooling runner are held against transformers in the tests; `auto` takes vLLM
#: for these.
POOLED = frozenset(f"{family}ForSequenceClassification" for family in ("Bert", "Roberta", "Llama", "Qwen2", "Qwen3"))
#: Model types that count positions from their padding token's id on, and so have fewer than they say.
OFFSET_POSITIONS = frozenset(
    {
        "roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "data2vec-text", "longformer",
        "mpnet",
    }
)  # fmt: skip


class ClassifierScorer(Protocol):
    """What computes a classification head."""

    def logits(self, inputs: list[dict[str, list[int]]]) -> np.ndarray:
        """Outputs before any activation, float32 [inputs, outputs]; NaN rows for refused inputs, [] for no inputs.

        Args:
            inputs: what the model's tokenizer gives for each pair (`input_ids`, …), not padded.
        """
        ...


class ClassifierJudge:
    """A classification head whose softmax over the grades is the judgement."""

    def __init__(self, judge_id: str, scale: Scale, order: list[int], encoder: PairEncoder, scorer: ClassifierScorer):
        self.judge_id, self.scale = judge_id, scale
        self._order, self._encoder, self._scorer = order, encoder, scorer

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        queries, titles, texts = (pairs.column(name).to_pylist() for name in ("query", "title", "text"))
        reasons = [unjudgeable(*row) for row in zip(queries, titles, texts, strict=True)]
        rows = [row for row, reason in enumerate(reasons) if not reason]
        documents = [document_text(titles[row], texts[row]) for row in rows]
        inputs, cut = self._encoder.encode([queries[row] for row in rows], documents)
        logits = self._scorer.logits(inputs).reshape(len(rows), len(self._order))
        finite = np.isfinite(logits).all(1)
        for place in np.flatnonzero(~finite):
            reasons[rows[place]] = ("engine-refused", "the engine gave no finite outputs for this pair")
        tokens = np.array([len(each["input_ids"]) for each in inputs], np.int32)
        good = pairs.take(pa.array(np.asarray(rows, np.int64)[finite]))
        logprobs = log_normalised(logits[finite])[:, self._order]
        judgements = judgement_table(good, logprobs, tokens[finite], cut[finite], self)
        return Judged(judgements, quarantine_table(pairs, reasons, source, "judge"), int(tokens.sum()))


class PairEncoder:
    """Pairs as a classifier reads them.

    Args:
        tokenizer: the model's.
        limit: tokens of a pair that are read.
    """

    def __init__(self, tokenizer: Any, limit: int):
        self._tokenizer, self._limit = tokenizer, limit

    def encode(self, queries: list[str], documents: list[str]) -> tuple[list[dict[str, list[int]]], np.ndarray]:
        """What the model reads of each pair (the tokenizer's lists, `limit` tokens at most), and whether it was cut,
        bool [pairs]."""
        if not queries:
            return [], np.zeros(0, bool)
        inputs = self._inputs(queries, documents, verbose=False)
        cut = np.array([len(each["input_ids"]) > self._limit for each in inputs])
        rows = np.flatnonzero(cut)
        if len(rows):
            short = self._inputs(
                [queries[row] for row in rows],
                [documents[row] for row in rows],
                truncation=True,
                max_length=self._limit,
            )
            for row, each in zip(rows, short, strict=True):
                inputs[row] = each
        return inputs, cut

    def _inputs(self, queries: list[str], documents: list[str], **options: Any) -> list[dict[str, list[int]]]:
        if self._tokenizer.sep_token:
            found = self._tokenizer(queries, documents, **options)
        else:
            both = zip(queries, documents, strict=True)
            found = self._tokenizer([TEMPLATE.format(query=query, document=text) for query, text in both], **options)
        return [dict(zip(found, each, strict=True)) for each in zip(*found.values(), strict=True)]


def output_order(folder: Path, scale: Scale) -> list[int]:
    """The model's output for each grade of the scale.

    Raises:
        InputError: where the model has no classification head, or another number of outputs or other grades than the
            scale.
    """
    values = _about(folder)
    name = _architecture(values)
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


def runner(config: JudgeConfig) -> Literal["vllm", "transformers"]:
    """What computes the classifier: what `config` says, else vLLM for an architecture of `POOLED`."""
    if config.runner != "auto":
        return config.runner
    return "vllm" if _architecture(_about(local_model(config.model))) in POOLED else "transformers"


def build(config: JudgeConfig, judge_id: str) -> ClassifierJudge:
    from relabel.judges.classifier_runners import PooledScorer, TransformersClassifier

    folder, scale, dtype = local_model(config.model), prompt_named(config.prompt).scale, judge_dtype(config).value
    order, tokenizer, about = output_order(folder, scale), load_tokenizer(folder), text_config(folder)
    limit = _limit(config, tokenizer, about)
    if runner(config) == "vllm":
        scorer = PooledScorer(folder, config, dtype, limit, len(order), getattr(about, "type_vocab_size", 1) > 1)
    else:
        scorer = TransformersClassifier(folder, config, dtype, tokenizer)
    return ClassifierJudge(judge_id, scale, order, PairEncoder(tokenizer, limit), scorer)


def text_config(folder: Path) -> Any:
    """The configuration of the model's text part, with the defaults of its class."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()


def _limit(config: JudgeConfig, tokenizer: Any, about: Any) -> int:
    """Tokens of a pair that are read: the budgets, as far as tokenizer and positions reach."""
    positions = getattr(about, "max_position_embeddings", None) or 1_000_000
    if about.model_type in OFFSET_POSITIONS:
        positions -= (about.pad_token_id or 0) + 1
    return min(config.max_query_tokens + config.max_document_tokens, int(min(tokenizer.model_max_length, positions)))


def _about(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text("utf-8"))


def _architecture(about: dict[str, Any]) -> str:
    return (about.get("architectures") or [""])[0]
