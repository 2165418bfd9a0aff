"""Pointwise squared error between the predicted probability of relevance and the degree."""

from __future__ import annotations

import torch

from train.losses.averages import weighted_mean


def mse(scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Squared error of σ(score) against the degree (the Brier score), a weighted mean over documents.

        L = Σ w·(σ(s) − y)² / Σ w

    The sigmoid keeps the loss comparable between architectures whose raw scores have different ranges; less sensitive
    to wrong labels than `bce`, since a surely wrong document costs at most 1.

    Args:
        scores: raw scores (logits) [queries, group].
        labels: relevance degrees in [0, 1] [queries, group].
        weights: ≥ 0 [queries, group].
        mask: False where there is no document [queries, group].

    Returns:
        A scalar in [0, 1]; 0 where no document has weight.

    Source: Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950).
    """
    losses = (scores.sigmoid() - labels).square()
    return weighted_mean(losses.masked_fill(~mask, 0.0), weights * mask)
