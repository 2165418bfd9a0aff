"""Cross-entropy of the grade; of the set of allowed grades where the label leaves it open."""

from __future__ import annotations

import torch


def cross_entropy(logprobs: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    """−log Σ p(g) over the allowed grades g; with one allowed grade the usual cross-entropy.

    Args:
        logprobs: log-probabilities over the grades [pairs, grades], each row summing to probability 1.
        lowest, highest: indices of the lowest and highest allowed grade [pairs].

    Returns:
        [pairs], ≥ 0, in nats.

    Source: the likelihood of an interval-censored grade; one allowed grade: the multinomial likelihood.
    """
    return -logprobs.masked_fill(~allowed(logprobs, lowest, highest), -torch.inf).logsumexp(-1)


def allowed(logprobs: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    """Whether the label allows each grade [pairs, grades]."""
    grade = torch.arange(logprobs.shape[1], device=logprobs.device)
    return (grade >= lowest[:, None]) & (grade <= highest[:, None])
