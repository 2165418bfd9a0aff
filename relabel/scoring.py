"""Scores of query–document pairs by a sentence-transformers folder, cross-encoder or bi-encoder, told by its files.

Batches are made by length; texts that repeat are encoded once by a bi-encoder. Computation is in bfloat16 where the
hardware multiplies in it (scores then differ from float32 by about 0.01), unless asked otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from relabel.errors import InputError
from relabel.hardware import compute_dtype
from relabel.models import local_model

Architecture = Literal["cross-encoder", "bi-encoder"]


def document_text(title: str, text: str) -> str:
    """Title and text as one string, as every re-ranker reads it in training, validation and evaluation."""
    return f"{title}\n{text}" if title else text


def architecture(folder: Path) -> Architecture:
    """What a model folder holds: a sequence classifier is a cross-encoder, any other encoder a bi-encoder.

    Raises:
        InputError: for a folder with a causal language model or none at all.
    """
    about = _json(folder / "config_sentence_transformers.json")
    if about.get("model_type") == "CrossEncoder":
        return "cross-encoder"
    names = _json(folder / "config.json").get("architectures") or [""]
    if names[0].endswith("ForSequenceClassification"):
        return "cross-encoder"
    if names[0].endswith("ForCausalLM"):
        raise InputError(str(folder), f"a {names[0]}", "an encoder or a cross-encoder", "judge with it instead")
    return "bi-encoder"


class TextScorer:
    """A model folder in memory that scores pairs of texts; higher is more relevant.

    Args:
        folder: a local folder in the sentence-transformers layout.
        batch_size: pairs (cross-encoder) or texts (bi-encoder) computed at once.
        dtype: `float32`, `bfloat16` or `float16`.
        device: `cpu` or `cuda`.
        limits: tokens that are read of a `query` and of a `document` (bi-encoder) or of a `pair` (cross-encoder); what
            is missing is read as far as the model can.
        logits: take the raw logits of a cross-encoder that was saved with another activation.

    Raises:
        InputError: where the folder is no model of either kind, or a cross-encoder with several outputs.
    """

    def __init__(
        self,
        folder: Path,
        batch_size: int,
        dtype: str,
        device: str,
        limits: Mapping[str, int],
        logits: bool = False,
    ):
        import torch

        self.architecture, self._batch_size = architecture(folder), batch_size
        options = {
            "device": device,
            "local_files_only": True,
            "trust_remote_code": False,
            "model_kwargs": {"dtype": getattr(torch, dtype), "use_safetensors": True},
        }
        self._activation = {"activation_fn": torch.nn.Identity()} if logits else {}
        if self.architecture == "cross-encoder":
            from sentence_transformers import CrossEncoder

            self._limits = {"pair": _least(limits.get("pair"), *_own_limits(folder))}
            self._encoder = CrossEncoder(str(folder), max_length=self._limits["pair"], **options)
            if self._encoder.num_labels != 1:
                outputs = f"a cross-encoder with {self._encoder.num_labels} outputs"
                raise InputError(str(folder), outputs, "one with a single score", "judge with --engine classifier")
        else:
            from sentence_transformers import SentenceTransformer

            self._encoder = SentenceTransformer(str(folder), **options)
            own = self._encoder.max_seq_length
            self._limits = {side: _least(limits.get(side), own) for side in ("query", "document")}

    def scores(self, queries: list[str], documents: list[str]) -> np.ndarray:
        """The score of each pair, float64 [pairs]: logits of a cross-encoder (through its own activation unless
        `logits`), cosines of a bi-encoder."""
        if not queries:
            return np.empty(0)
        if self.architecture == "cross-encoder":
            pairs = list(zip(queries, documents, strict=True))
            found = self._encoder.predict(
                pairs, batch_size=self._batch_size, show_progress_bar=False, **self._activation
            )
            return found.astype(np.float64)
        sides = (self.vectors(queries, "query"), self.vectors(documents, "document"))
        return np.einsum("ij,ij->i", *sides)

    def lengths(self, queries: list[str], documents: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens that are read of each pair, and whether something was cut; each [pairs]."""
        if not queries:
            return np.zeros(0, int), np.zeros(0, bool)
        if self.architecture == "cross-encoder":
            full = {"pair": self._sizes(queries, documents)}
        else:
            full = {"query": self._sizes(queries), "document": self._sizes(documents)}
        limits = {side: self._limits[side] or size.max() for side, size in full.items()}
        tokens = sum(np.minimum(size, limits[side]) for side, size in full.items())
        return tokens, np.any([size > limits[side] for side, size in full.items()], axis=0)

    def _sizes(self, *texts: list[str]) -> np.ndarray:
        found = self._encoder.tokenizer(*texts, truncation=False, verbose=False)["input_ids"]
        return np.array([len(ids) for ids in found])

    def vectors(self, texts: list[str], side: Literal["query", "document"]) -> np.ndarray:
        """Unit vectors of a bi-encoder, float64 [texts, dimensions]; each different text is encoded once."""
        different = list(dict.fromkeys(texts))
        place = {text: number for number, text in enumerate(different)}
        self._encoder.max_seq_length = self._limits[side]
        vectors = self._encoder.encode(
            different, batch_size=self._batch_size, show_progress_bar=False, convert_to_tensor=True
        )
        vectors = vectors.float().cpu().numpy().astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors[[place[text] for text in texts]]


def score_texts(
    model: str | Path,
    queries: list[str],
    documents: list[str],
    batch_size: int = 64,
    dtype: str = "auto",
    max_length: int | None = None,
) -> np.ndarray:
    """The score of each pair; higher is more relevant.

    Args:
        model: a folder in the sentence-transformers layout, or a package model.
        queries: one query a pair.
        documents: one document a pair (see `document_text`).
        batch_size: pairs (cross-encoder) or texts (bi-encoder) computed at once.
        dtype: `auto`, `float32` or `bfloat16`.
        max_length: tokens of a text (bi-encoder) or of a pair (cross-encoder) that are read; default: the model's own.

    Returns:
        float64 [pairs]: raw scores of a cross-encoder (logits, where it was saved with the identity as activation),
        cosines of a bi-encoder.

    Raises:
        InputError: where the folder is no model of either kind, or the lists differ in length.
    """
    import torch

    if len(queries) != len(documents):
        raise InputError("scoring", f"{len(queries)} queries for {len(documents)} documents", "one query a document")
    if not queries:
        return np.empty(0)
    gpu = torch.cuda.is_available()
    scorer = TextScorer(
        local_model(str(model)),
        batch_size,
        compute_dtype(dtype, gpu).value,
        "cuda" if gpu else "cpu",
        dict.fromkeys(("query", "document", "pair"), max_length) if max_length else {},
    )
    return scorer.scores(queries, documents)


def encoder_scores(model: str, pairs: pa.Table, max_length: int | None = None) -> np.ndarray:
    """Scores of a pairs table [rows] by a model folder or package model; a bi-encoder's are cosines.

    `max_length` tokens of a text are read; None: as many as the model can.

    A cross-encoder computes in float32: its scores are the logits themselves, which bfloat16 would round into ties.
    """
    dtype = "float32" if architecture(local_model(model)) == "cross-encoder" else "auto"
    titles_and_texts = zip(pairs["title"].to_pylist(), pairs["text"].to_pylist(), strict=True)
    documents = [document_text(*both) for both in titles_and_texts]
    return score_texts(model, pairs["query"].to_pylist(), documents, dtype=dtype, max_length=max_length)


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit), default=None)


def _own_limits(folder: Path) -> list[int]:
    """Tokens that a cross-encoder can read, by its tokenizer and by its positions, where they say so."""
    files = {"tokenizer_config.json": "model_max_length", "config.json": "max_position_embeddings"}
    values = [_json(folder / name).get(key) for name, key in files.items()]
    return [int(value) for value in values if value and value < 1_000_000]


def _json(path: Path) -> dict:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
