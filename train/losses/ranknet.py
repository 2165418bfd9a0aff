"""RankNet: logistic loss on every pair of documents whose degrees differ."""

from __future__ import annotations

import torch
from torch.nn import functional

from train.losses.averages import weighted_mean


def ranknet(scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pairwise logistic loss: the document of higher degree should score higher.

        L(q) = Σ_{i,j: y_i > y_j} w_i·w_j·log(1 + exp(−(s_i − s_j))) / Σ_{i,j: y_i > y_j} w_i·w_j

    and L is the mean over the queries that have such a pair.

    Args:
        scores: raw scores [queries, group].
        labels: relevance degrees [queries, group]; only their order within a query is used.
        weights: ≥ 0 [queries, group].
        mask: False where there is no document [queries, group].

    Returns:
        A scalar ≥ 0; 0 where no query has two documents of different degree.

    Source: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, equation 3 with target 1.
    """
    weights = weights * mask
    scores = scores.masked_fill(~mask, 0.0)
    preferred = labels.unsqueeze(2) > labels.unsqueeze(1)
    pair_weights = weights.unsqueeze(2) * weights.unsqueeze(1) * preferred
    losses = functional.softplus(-(scores.unsqueeze(2) - scores.unsqueeze(1)))
    totals = pair_weights.sum((1, 2))
    usable = totals > 0
    by_query = (losses * pair_weights).sum((1, 2)) / torch.where(usable, totals, torch.ones_like(totals))
    return weighted_mean(by_query, usable.to(by_query.dtype))
