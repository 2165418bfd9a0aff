"""The judge as a model to train: a causal LM that answers with one grade token after the prompt.

Only the last position's logits are computed, from its hidden state and the whole output layer: one row a sequence, so
that the softmax runs over the full vocabulary (and the mass off the grades stays meaningful) at little cost.
"""

from __future__ import annotations

from pathlib import Path

import torch

from relabel.errors import ConfigError, InputError

#: Token counts are padded up to a multiple of this: fewer shapes, so the allocator does not grow.
PAD_TO = 8
#: Greatest difference of a logit to the model's own forward pass.
TOLERANCE = 1e-2


class GradeModel(torch.nn.Module):
    """A causal LM read at the last position of right-padded prompts.

    Args:
        lm: a causal language model of transformers, with adapters in it or without.
    """

    def __init__(self, lm: torch.nn.Module):
        super().__init__()
        self.lm = lm
        self.softcap = getattr(lm.config, "final_logit_softcapping", None)

    def forward(self, input_ids: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Logits of the token after each prompt.

        Padding stands right of the prompt, where causal attention never looks from `last`: no mask is needed.

        Args:
            input_ids: [prompts, length].
            last: position of each prompt's last token [prompts].

        Returns:
            [prompts, vocabulary].
        """
        hidden = self.lm.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        at_last = hidden[torch.arange(len(last), device=hidden.device), last]
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

    def check(self) -> None:
        """Raise InputError where the model computes its logits in a way that `forward` does not know."""
        ids = torch.arange(1, 9)[None]
        with torch.inference_mode():
            expected = self.lm(input_ids=ids, use_cache=False).logits[0, -1]
            found = self.forward(ids, torch.tensor([7]))[0]
        difference = float((expected - found).abs().max())
        if difference > TOLERANCE:
            raise InputError(
                f"model {type(self.lm).__name__}",
                f"logits that differ by {difference:.3g} from hidden state × output layer",
                "a causal LM with a plain (or soft-capped) output layer",
            )


def load_causal_lm(folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A causal LM from a local folder, without code of its own.

    On a CPU attention is computed plainly: for prompts of a few hundred tokens the backward pass of the fused kernel
    takes longer.
    """
    from transformers import AutoModelForCausalLM

    attention = "sdpa" if torch.cuda.is_available() else "eager"
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention, trust_remote_code=False
    )


def padded(prompts: list[list[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded token ids [prompts, length] and the position of each prompt's last token [prompts]."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    width = -(-int(lengths.max()) // PAD_TO) * PAD_TO
    ids = torch.full((len(prompts), width), fill)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids, lengths - 1
