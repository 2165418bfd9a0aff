"""RankNet over the pairs that pass through the model together: the higher grade should have the higher score."""

from __future__ import annotations

import torch
from torch.nn import functional


def pairwise(
    logprobs: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor, within: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean of log(1 + exp(−(s_i − s_j))) over all i, j of which every allowed grade of i is above every one of j.

    The score s is the log-odds of the upper half of the grades, so that it has no bounds. Pairs of different queries
    are compared as well: a judge's grades must mean the same for every query, as the pooled AUC asks.

    Args:
        logprobs: log-probabilities over the grades [pairs, grades], each row summing to probability 1.
        lowest, highest: indices of the lowest and highest allowed grade [pairs].
        within: group of each pair [pairs]; only pairs of one group are compared. None: all are.

    Returns:
        A scalar ≥ 0; 0 where no two pairs differ.

    Source: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, equation 3 with target 1.
    """
    half = logprobs.shape[1] // 2
    scores = logprobs[:, half:].logsumexp(-1) - logprobs[:, :half].logsumexp(-1)
    above = lowest[:, None] > highest[None, :]
    if within is not None:
        above = above & (within[:, None] == within[None, :])
    losses = functional.softplus(-(scores[:, None] - scores[None, :]))
    return (losses * above).sum() / above.sum().clamp(min=1)
