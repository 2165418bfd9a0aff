"""Pointwise binary cross-entropy with soft degrees."""

from __future__ import annotations

import torch
from torch.nn import functional

from train.losses.averages import weighted_mean


def bce(scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of σ(score) against the degree, a weighted mean over documents.

        L = Σ w·( −y·log σ(s) − (1 − y)·log(1 − σ(s)) ) / Σ w

    Args:
        scores: raw scores (logits) [queries, group].
        labels: relevance degrees in [0, 1] [queries, group]; soft degrees are probabilities of relevance.
        weights: ≥ 0 [queries, group].
        mask: False where there is no document [queries, group].

    Returns:
        A scalar ≥ 0; 0 where no document has weight.

    Source: Nogueira and Cho, "Passage Re-ranking with BERT", arXiv:1901.04085, equation 1 (hard labels).
    """
    losses = functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    return weighted_mean(losses.masked_fill(~mask, 0.0), weights * mask)
