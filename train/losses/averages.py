"""Weighted averages that stay finite: what every loss ends with."""

from __future__ import annotations

import torch


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ w·v / Σ w over all entries; 0 (with gradients) where all weights are 0.

    Args:
        values: any shape; entries of weight 0 must be finite.
        weights: the same shape, ≥ 0.
    """
    return (values * weights).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)


def masked_log_softmax(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """log( exp(s_i) / Σ_j w_j·exp(s_j) ) along the last dimension; 0 where w_i = 0.

    The weight is a multiplicity: weight 2 equals the entry written twice, weight 0 equals its absence.
    """
    present = weights > 0
    log_weights = torch.where(present, weights, torch.ones_like(weights)).log()
    terms = (scores + log_weights).masked_fill(~present, torch.finfo(scores.dtype).min)
    return (scores - torch.logsumexp(terms, dim=-1, keepdim=True)).masked_fill(~present, 0.0)
