"""The judge as a model to train: a causal LM that answers with one grade token after the prompt.

Only the last position's logits are computed, from its hidden state and the whole output layer: one row a sequence, so
that the softmax runs over the full vocabulary (and the mass off the grades stays meaningful) at little cost.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import MethodType

import torch

from relabel.errors import ConfigError, InputError

#: Token counts are padded up to a multiple of this: fewer shapes, so the allocator does not grow.
PAD_TO = 8
#: Greatest difference of a logit to the model's own forward pass.
TOLERANCE = 1e-2
#: What to set where prompts cannot share a document's computation.
NOT_SHARED = "set queries_per_document: 1 and other_queries: 0"


class GradeModel(torch.nn.Module):
    """A causal LM read at the last position of right-padded prompts.

    Args:
        lm: a causal language model of transformers, with adapters in it or without.
    """

    def __init__(self, lm: torch.nn.Module):
        super().__init__()
        self.lm = lm
        self.softcap = getattr(lm.config, "final_logit_softcapping", None)
        head = lm.get_output_embeddings()
        if type(head) is torch.nn.Linear:  # one with an adapter computes as it does
            # Its own `forward`, not a call on its weight: ZeRO 3 gathers the weight where the module is called.
            head.forward = MethodType(_linear_in_float32, head)

    def forward(
        self,
        input_ids: torch.Tensor,
        last: torch.Tensor,
        row: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits of the token after each prompt.

        Padding stands right of the prompt, where causal attention never looks from `last`: no mask is needed, unless
        several prompts share a row (`packed`).

        Args:
            input_ids: [rows, length].
            last: place of each prompt's last token in its row [prompts].
            row: of each prompt [prompts]; None: one prompt a row.
            position_ids: of each token in its own prompt [rows, length]; None: its place in the row.
            visible: whether a token (second) attends to another (third) [rows, length, length]; None: to all before.

        Returns:
            [prompts, vocabulary].
        """
        extra = {}
        if visible is not None:
            dtype = self.lm.get_input_embeddings().weight.dtype
            hidden_from = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
            hidden_from.masked_fill_(~visible, torch.finfo(dtype).min)
            extra = {"attention_mask": hidden_from[:, None], "position_ids": position_ids}
        hidden = self.lm.base_model(input_ids=input_ids, use_cache=False, **extra).last_hidden_state
        at_last = hidden[torch.arange(len(last), device=hidden.device) if row is None else row, last]
        logits = self.lm.get_output_embeddings()(at_last)
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap

    def train_only(self, layers: int | None) -> GradeModel:
        """Train the topmost `layers` and the last norm alone, no embeddings; None: everything. Returns itself.

        Raises:
            ConfigError: where the model has fewer layers.
        """
        if layers is None:
            return self
        blocks = self.lm.base_model.layers
        if layers > len(blocks):
            raise ConfigError("trained_layers", str(layers), f"at most the model's {len(blocks)} layers")
        self.lm.requires_grad_(False)
        blocks[len(blocks) - layers :].requires_grad_(True)
        self.lm.base_model.norm.requires_grad_(True)
        return self

    def check(self, longest: int, shared: bool) -> None:
        """Whether `forward` computes this model's logits.

        Args:
            longest: tokens of the longest prompt.
            shared: whether prompts will share rows.

        Raises:
            InputError: where the model computes them in another way.
            ConfigError: where prompts are to share rows and its attention does not reach over the longest of them.
        """
        prompts = [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 9, 10]]
        with torch.inference_mode():
            expected = torch.cat([self.lm(input_ids=torch.tensor([ids])).logits[:, -1] for ids in prompts])
            alone = self.forward(*padded(prompts, 0))
            try:
                together = self.forward(**packed(prompts, [0, 0], 0)) if shared else alone
            except (TypeError, ValueError, RuntimeError, IndexError) as error:  # what families make of another mask
                raise InputError(
                    f"model {type(self.lm).__name__}",
                    f"an error where two prompts share what they begin with ({str(error)[:200]})",
                    "a causal LM that takes a mask of its attention",
                    NOT_SHARED,
                ) from None
        wanted = "a causal LM with a plain (or soft-capped) output layer"
        self._same(expected, alone, "from hidden state × output layer", wanted)
        wanted = "a causal LM that takes a mask of its attention"
        self._same(expected, together, "where two prompts share what they begin with", wanted, NOT_SHARED)
        window = getattr(self.lm.config, "sliding_window", None)
        if shared and window and longest > window:
            raise ConfigError(
                "queries_per_document, other_queries",
                f"prompts of up to {longest} tokens with a model whose attention reaches {window}",
                "prompts within its window where several share a document",
                f"lower max_document_tokens, or {NOT_SHARED}",
            )

    def _same(self, expected: torch.Tensor, found: torch.Tensor, where: str, wanted: str, fix: str = "") -> None:
        """Raise InputError where logits differ from the model's own."""
        difference = float((expected - found).abs().max())
        if difference > TOLERANCE:
            name = f"model {type(self.lm).__name__}"
            raise InputError(name, f"logits that differ by {difference:.3g} {where}", wanted, fix)


def _linear_in_float32(head: torch.nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """Logits as judging computes them: in bfloat16 a logit near 16 has steps of 0.125, which ties grades."""
    bias = None if head.bias is None else head.bias.float()
    return torch.nn.functional.linear(hidden.float(), head.weight.float(), bias)


def load_causal_lm(folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A causal LM from a local folder, without code of its own.

    On a CPU attention is computed plainly: for prompts of a few hundred tokens the backward pass of the fused kernel
    takes longer.
    """
    from transformers import AutoModelForCausalLM

    attention = "sdpa" if torch.cuda.is_available() else "eager"
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention, trust_remote_code=False, use_safetensors=True
    )


def padded(prompts: list[list[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded token ids [prompts, length] and the position of each prompt's last token [prompts]."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    width = -(-int(lengths.max()) // PAD_TO) * PAD_TO
    ids = torch.full((len(prompts), width), fill)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids, lengths - 1


def packed(prompts: list[list[int]], documents: list[int], fill: int) -> dict[str, torch.Tensor]:
    """Arguments of `GradeModel.forward` with the prompts of each document in one row: what they begin with in common
    stands there once, and none sees the rest of another.

    Args:
        prompts: token ids; those of a document next to each other.
        documents: which document each prompt is of [prompts].
    """
    groups = _by_document(prompts, documents)
    if len(groups) == len(prompts):
        return dict(zip(("input_ids", "last"), padded(prompts, fill), strict=True))
    shared = [_in_common(group) for group in groups]
    width = -(-max(map(_row_tokens, groups, shared)) // PAD_TO) * PAD_TO
    ids = torch.full((len(groups), width), fill)
    positions = torch.zeros((len(groups), width), dtype=torch.long)
    visible = torch.zeros((len(groups), width, width), dtype=torch.bool)
    rows, last = [], []
    for row, (length, group) in enumerate(zip(shared, groups, strict=True)):
        ids[row, :length] = torch.tensor(group[0][:length])
        positions[row, :length] = torch.arange(length)
        visible[row, :length, :length] = torch.ones(length, length, dtype=torch.bool).tril()
        start = length
        for prompt in group:
            stop = start + len(prompt) - length
            ids[row, start:stop] = torch.tensor(prompt[length:])
            positions[row, start:stop] = torch.arange(length, len(prompt))
            visible[row, start:stop, :length] = True
            visible[row, start:stop, start:stop] = torch.ones(stop - start, stop - start, dtype=torch.bool).tril()
            rows.append(row)
            last.append(stop - 1)
            start = stop
        visible[row, start:, 0] = True  # padding sees something, or its softmax is undefined
    return {
        "input_ids": ids,
        "last": torch.tensor(last),
        "row": torch.tensor(rows),
        "position_ids": positions,
        "visible": visible,
    }


def packed_tokens(prompts: list[list[int]], documents: list[int]) -> list[int]:
    """Tokens of each document's row as `packed` makes it."""
    return [_row_tokens(group, _in_common(group)) for group in _by_document(prompts, documents)]


def _by_document(prompts: list[list[int]], documents: list[int]) -> list[list[list[int]]]:
    """The prompts of each document, in order; those of a document next to each other."""
    pairs = groupby(zip(documents, prompts, strict=True), key=itemgetter(0))
    return [[prompt for _, prompt in group] for _, group in pairs]


def _row_tokens(group: list[list[int]], shared: int) -> int:
    """Tokens of a row with the first `shared` of each prompt once."""
    return sum(map(len, group)) - (len(group) - 1) * shared


def _in_common(prompts: list[list[int]]) -> int:
    """Tokens that all prompts begin with; at least one token of each is left."""
    if len(prompts) == 1:
        return len(prompts[0]) - 1
    shortest = min(map(len, prompts)) - 1
    first, rest = prompts[0], prompts[1:]
    return next((at for at in range(shortest) if any(prompt[at] != first[at] for prompt in rest)), shortest)
