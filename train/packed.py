"""A BERT-like encoder over sequences laid one after another, without padding: [tokens of all sequences, size].

Everything but attention works on each token alone, so padding is only work that nobody reads; attention is computed
sequence by sequence. Where a head reads each sequence's first token alone, the last layer computes nothing else. Both
are the mathematics of the padded encoder, gradients included; `matches` holds a model against its own forward pass.

For CPUs: many small kernels, which would leave a GPU waiting for their launch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

#: Greatest difference of a score to the padded model's.
TOLERANCE = 1e-4


def packed_states(
    encoder: torch.nn.Module, tokens: dict[str, torch.Tensor], first_only: bool = False
) -> tuple[torch.Tensor, list[int]]:
    """The last layer's states of a BERT-like encoder.

    Args:
        encoder: `embeddings` and `encoder.layer` of transformers' BERT or one of the models that copy it.
        tokens: right-padded `input_ids` and `attention_mask` [sequences, length], `token_type_ids` where the tokenizer
            makes them.
        first_only: of the first token of each sequence alone.

    Returns:
        States [tokens, size] ([sequences, size] with `first_only`) and the tokens of each sequence.
    """
    present = tokens["attention_mask"].bool()
    lengths = present.sum(1).tolist()
    types = tokens.get("token_type_ids")
    places = torch.arange(present.shape[1], device=present.device).expand(present.shape)[present]
    states = encoder.embeddings(
        input_ids=tokens["input_ids"][present][None],
        token_type_ids=None if types is None else types[present][None],
        position_ids=places[None] + _first_position(encoder),
    )[0]
    *layers, last = encoder.encoder.layer
    for layer in layers:
        states = _layer(layer, states, states, lengths, lengths)
    if not first_only:
        return _layer(last, states, states, lengths, lengths), lengths
    first = torch.tensor([0, *lengths[:-1]], device=states.device).cumsum(0)
    return _layer(last, states[first], states, [1] * len(lengths), lengths), lengths


def _first_position(encoder: torch.nn.Module) -> int:
    """The first token's row of the position embeddings: RoBERTa and its kin leave those up to the padding's out."""
    padding = encoder.embeddings.position_embeddings.padding_idx
    return 0 if padding is None else padding + 1


def _layer(
    layer: torch.nn.Module, asking: torch.Tensor, states: torch.Tensor, queries: list[int], keys: list[int]
) -> torch.Tensor:
    """One layer's states of `asking`, whose sequences attend to theirs in `states`; `queries`, `keys`: their tokens."""
    own = layer.attention.self
    heads = (-1, own.num_attention_heads, own.attention_head_size)
    # torch's gradient of attention in bfloat16 takes a CPU seven times as long as in float32, with two threads ten
    dtype = torch.float32 if states.dtype == torch.bfloat16 else states.dtype

    def by_sequence(projected: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, ...]:
        return projected.to(dtype).view(heads).transpose(0, 1).split(lengths, 1)

    read_by, read_from = by_sequence(own.query(asking), queries), by_sequence(own.key(states), keys)
    parts = zip(read_by, read_from, by_sequence(own.value(states), keys), strict=True)
    dropout = own.dropout.p if layer.training else 0.0
    read = [
        scaled_dot_product_attention(*(side[None] for side in part), dropout_p=dropout, scale=own.scaling)[0]
        for part in parts
    ]
    attended = torch.cat(read, 1).transpose(0, 1).reshape(len(asking), -1).to(states.dtype)
    return layer.feed_forward_chunk(layer.attention.output(attended, asking))


def matches(packed: Callable[[dict], torch.Tensor], padded: Callable[[dict], torch.Tensor]) -> bool:
    """Whether two forward passes give the same for sequences of three lengths; False where one cannot run."""
    lengths = torch.tensor([9, 5, 2])
    present = torch.arange(9) < lengths[:, None]
    tokens = {
        "input_ids": torch.where(present, torch.arange(5, 32).reshape(3, 9), 0),
        "attention_mask": present.long(),
    }
    with torch.inference_mode():
        expected = padded(tokens)
        try:
            found = packed(tokens)
        except (AttributeError, TypeError, ValueError, RuntimeError, LookupError):  # of another build than BERT's
            return False
    return found.shape == expected.shape and bool((found - expected).abs().max() <= TOLERANCE)
