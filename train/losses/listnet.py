"""ListNet: cross-entropy between the distributions that degrees and scores put on a query's documents."""

from __future__ import annotations

import torch

from train.losses.averages import masked_log_softmax, weighted_mean

#: Degrees live in [0, 1]; with the paper's temperature 1 a perfect document would get only e times the share of an
#: irrelevant one. At 0.25 it gets e⁴ ≈ 55 times.
TEMPERATURE = 0.25


def listnet(
    scores: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    mask: torch.Tensor,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """Top-one ListNet with soft labels.

        p_i = exp(s_i) / Σ_j w_j·exp(s_j)      t_i = exp(y_i/τ) / Σ_j w_j·exp(y_j/τ)
        L(q) = −Σ_i w_i·t_i·log p_i

    and L is the mean over the queries with at least two documents of different degree.

    Args:
        scores: raw scores [queries, group].
        labels: relevance degrees in [0, 1] [queries, group].
        weights: ≥ 0, multiplicities of the documents [queries, group].
        mask: False where there is no document [queries, group].
        temperature: τ of the target distribution.

    Returns:
        A scalar ≥ 0; 0 where no query has two documents of different degree.

    Source: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007, section 4.2.
    """
    weights = weights * mask
    scores = scores.masked_fill(~mask, 0.0)
    targets = weights * masked_log_softmax(labels / temperature, weights).exp()
    by_query = -(targets * masked_log_softmax(scores, weights)).sum(-1)
    present = weights > 0
    highest = labels.masked_fill(~present, -torch.inf).amax(-1)
    lowest = labels.masked_fill(~present, torch.inf).amin(-1)
    return weighted_mean(by_query, (highest > lowest).to(by_query.dtype))
