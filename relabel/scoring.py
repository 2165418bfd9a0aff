"""Scores of query–document pairs by a sentence-transformers folder, cross-encoder or bi-encoder, told by its files.

Batches are made by length; texts that repeat are encoded once by a bi-encoder. Computation is in bfloat16 where the
hardware multiplies in it (scores then differ from float32 by about 0.01), unless asked otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np

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
    folder = local_model(str(model))
    gpu = torch.cuda.is_available()
    options = {
        "device": "cuda" if gpu else "cpu",
        "local_files_only": True,
        "model_kwargs": {"dtype": getattr(torch, compute_dtype(dtype, gpu).value)},
    }
    if architecture(folder) == "cross-encoder":
        from sentence_transformers import CrossEncoder

        encoder = CrossEncoder(str(folder), max_length=max_length, **options)
        pairs = list(zip(queries, documents, strict=True))
        return encoder.predict(pairs, batch_size=batch_size, show_progress_bar=False).astype(np.float64)
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(folder), **options)
    if max_length:
        encoder.max_seq_length = min(max_length, encoder.max_seq_length or max_length)
    vectors = [_vectors(encoder, texts, batch_size) for texts in (queries, documents)]
    return np.einsum("ij,ij->i", *vectors)


def _vectors(encoder, texts: list[str], batch_size: int) -> np.ndarray:
    """Unit vectors [texts, dimensions]; each different text is encoded once."""
    different = list(dict.fromkeys(texts))
    place = {text: number for number, text in enumerate(different)}
    vectors = encoder.encode(different, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
    vectors = vectors.float().cpu().numpy().astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[[place[text] for text in texts]]


def _json(path: Path) -> dict:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
