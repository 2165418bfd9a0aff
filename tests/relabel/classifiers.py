"""Tiny random sequence classifiers of real architectures with four outputs, for tests that need no hub."""

from __future__ import annotations

from pathlib import Path

from tests.relabel.language_models import tiny_tokenizer
from tests.train.encoders import tiny_encoder

CLASSIFIERS = ("bert", "roberta", "llama", "qwen2", "qwen3")
LABELS = ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")


def tiny_classifier(family: str, folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """A two-layer random model with one output for each label, and its tokenizer: BERT's tells segments apart,
    RoBERTa's does not, those of language models have no separator. vLLM on CPU wants heads of 32 dimensions."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    if family in ("llama", "qwen2", "qwen3"):
        tokenizer = tiny_tokenizer("llama" if family == "llama" else "qwen")
        more = {"num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 256}
    else:
        tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(folder))
        more = {"max_position_embeddings": 64, "pad_token_id": tokenizer.pad_token_id}
    if family == "roberta":
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
        more["max_position_embeddings"] = 64 + tokenizer.pad_token_id + 1
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, initializer_range=0.2, id2label=dict(enumerate(labels)), **more,
    )  # fmt: skip
    torch.manual_seed(3)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
