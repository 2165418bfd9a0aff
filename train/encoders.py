"""The two re-ranker architectures over a BERT-like encoder: models from token ids to scores [queries, group].

Both are saved so that sentence-transformers opens them: a cross-encoder as a sequence classifier of one label with the
identity as activation, a bi-encoder as encoder, pooling and normalisation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from relabel.errors import InputError
from train.packed import matches, packed_states

#: Token counts are padded up to a multiple of this: fewer shapes, so the allocator does not grow.
PAD_TO = 16
#: The bi-encoder's cosine is multiplied by this before a loss sees it (learned further for pointwise losses).
COSINE_SCALE = 20.0
#: Cosine that means "as likely relevant as not" to a pointwise loss before training.
COSINE_MIDDLE = 0.5
#: Weights as safetensors alone, and no code that comes with a model.
_SAFELY = {"trust_remote_code": False, "use_safetensors": True}
#: Pooling → its name in sentence-transformers' files.
POOLING_KEYS = {"mean": "mean_tokens", "cls": "cls_token"}


def encoder_folder(model: Path) -> Path:
    """The transformers folder inside a model folder (sentence-transformers may keep it in a subfolder)."""
    modules = model / "modules.json"
    if not modules.exists():
        return model
    return model / json.loads(modules.read_text("utf-8"))[0]["path"]


def encoder_pooling(model: Path) -> str:
    """`mean` or `cls`: how a sentence-transformers folder pools; `mean` for a plain encoder.

    Raises:
        InputError: for any other pooling.
    """
    path = model / "1_Pooling" / "config.json"
    if not path.exists():
        return "mean"
    config = json.loads(path.read_text("utf-8"))
    modes = [
        short
        for short, long in POOLING_KEYS.items()
        if config.get(f"pooling_mode_{long}") or config.get("pooling_mode") == short
    ]
    if len(modes) != 1:
        raise InputError(str(path), "another pooling than mean or cls", "an encoder with mean or cls pooling")
    return modes[0]


class Tokens:
    """A tokenizer with its length limit: texts → padded tensors."""

    def __init__(self, model: Path, max_length: int):
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(encoder_folder(model), trust_remote_code=False)
        self.max_length = min(max_length, self.tokenizer.model_max_length)
        self.tokenizer.model_max_length = self.max_length

    def __call__(self, texts: list[str], others: list[str] | None = None) -> dict[str, torch.Tensor]:
        """Tensors [texts, length]; with `others`, each text is read together with its other."""
        sides = [texts] if others is None else [texts, others]
        return dict(
            self.tokenizer(
                *sides,
                padding=True,
                truncation="longest_first",
                max_length=self.max_length,
                pad_to_multiple_of=min(PAD_TO, self.max_length),
                return_tensors="pt",
            )
        )

    def count(self, texts: list[str], others: list[str] | None = None) -> list[int]:
        """Tokens of each text (with its other) as the model reads it."""
        sides = [texts] if others is None else [texts, others]
        encoded = self.tokenizer(*sides, truncation="longest_first", max_length=self.max_length)
        return list(map(len, encoded["input_ids"]))


class CrossEncoder(torch.nn.Module):
    """Query and document read together by a sequence classifier with one output.

    Args:
        model: a local model folder; a classification head is added where it has none.
        dropout: of hidden states and attention while training.
    """

    #: Parameters whose names start so are the head.
    head = ("classifier.classifier", "classifier.score")

    def __init__(self, model: Path, dropout: float):
        from transformers import AutoModelForSequenceClassification

        super().__init__()
        self.classifier = AutoModelForSequenceClassification.from_pretrained(
            encoder_folder(model), num_labels=1, dtype=torch.float32, **_SAFELY, **_dropout(dropout)
        )
        self.packs = _packs(self, self._packed, self._padded)

    def forward(self, inputs: dict[str, dict[str, torch.Tensor]]) -> torch.Tensor:
        """`inputs["pairs"]`: tokens of each query with its document. Returns raw scores [pairs]."""
        tokens = inputs["pairs"]
        on_cpu = tokens["input_ids"].device.type == "cpu"
        return self._packed(tokens) if self.packs and on_cpu else self._padded(tokens)

    def _padded(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.classifier(**tokens).logits.squeeze(-1)

    def _packed(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """Without padding; the heads of BERT and its kin read the first token alone."""
        whole = self.classifier
        first = packed_states(whole.base_model, tokens, first_only=True)[0][:, None]
        if getattr(whole.base_model, "pooler", None) is not None:
            first = whole.dropout(whole.base_model.pooler(first))
        return whole.classifier(first).squeeze(-1)

    def save(self, folder: Path, tokens: Tokens) -> None:
        self.classifier.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
        self.classifier.save_pretrained(folder)
        tokens.tokenizer.save_pretrained(folder)


class BiEncoder(torch.nn.Module):
    """Query and document read apart; score = scale × cosine + offset.

    Scale and offset are learned so that pointwise losses can read a score as log-odds; they change no ranking, and the
    exported model, which gives the cosine, does not need them.

    Args:
        model: a local model folder.
        dropout: of hidden states and attention while training.
    """

    head = ("scale", "offset")

    def __init__(self, model: Path, dropout: float):
        from transformers import AutoModel

        super().__init__()
        self.encoder = AutoModel.from_pretrained(
            encoder_folder(model), dtype=torch.float32, **_SAFELY, **_dropout(dropout)
        )
        for name, parameter in self.encoder.named_parameters():
            if name.startswith("pooler."):
                parameter.requires_grad_(False)
        self.pooling = encoder_pooling(model)
        self.scale = torch.nn.Parameter(torch.tensor([COSINE_SCALE]))
        self.offset = torch.nn.Parameter(torch.tensor([-COSINE_SCALE * COSINE_MIDDLE]))
        self.packs = _packs(self, self._packed, self._padded)

    def forward(self, inputs: dict[str, dict[str, torch.Tensor]]) -> torch.Tensor:
        """`inputs["queries"]`, `inputs["documents"]`: tokens; `inputs["places"]["query"]`: the query of each document.

        Returns scores [documents].
        """
        queries = self._vectors(inputs["queries"])[inputs["places"]["query"]]
        cosine = (queries * self._vectors(inputs["documents"])).sum(-1)
        return self.scale.float() * cosine + self.offset.float()

    def _vectors(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        on_cpu = tokens["input_ids"].device.type == "cpu"
        pooled = self._packed(tokens) if self.packs and on_cpu else self._padded(tokens)
        return torch.nn.functional.normalize(pooled, dim=-1)

    def _padded(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """Pooled states [texts, size], unnormalised."""
        states = self.encoder(**tokens).last_hidden_state.float()
        if self.pooling == "cls":
            return states[:, 0]
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        return (states * mask).sum(1) / mask.sum(1).clamp_min(1e-9)

    def _packed(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """The same without padding."""
        states, lengths = packed_states(self.encoder, tokens, first_only=self.pooling == "cls")
        if self.pooling == "cls":
            return states.float()
        return torch.stack([text.mean(0) for text in states.float().split(lengths)])

    def save(self, folder: Path, tokens: Tokens) -> None:
        self.encoder.save_pretrained(folder)
        tokens.tokenizer.save_pretrained(folder)
        size = self.encoder.config.hidden_size
        pooling = {"word_embedding_dimension": size}
        pooling |= {f"pooling_mode_{long}": self.pooling == short for short, long in POOLING_KEYS.items()}
        modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        files = {
            "sentence_bert_config.json": {"max_seq_length": tokens.max_length, "do_lower_case": False},
            "1_Pooling/config.json": pooling,
            "modules.json": [
                {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
                for number, (name, path) in enumerate(modules)
            ],
        }
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        (folder / "2_Normalize").mkdir(exist_ok=True)


def _packs(model: torch.nn.Module, packed: Callable, padded: Callable) -> bool:
    """Whether `model` computes the same without padding; asked without dropout."""
    model.eval()
    return matches(packed, padded)


#: Architecture name → model class.
ARCHITECTURES = {"cross-encoder": CrossEncoder, "bi-encoder": BiEncoder}


def _dropout(share: float) -> dict[str, Any]:
    return {"hidden_dropout_prob": share, "attention_probs_dropout_prob": share}
