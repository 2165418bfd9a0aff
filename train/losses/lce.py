"""LCE: localised contrastive estimation, a positive against the hard negatives of its group."""

from __future__ import annotations

import torch

from train.losses.averages import weighted_mean


def lce(scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy of the group's best document against all documents of lower degree.

        L(q) = −log( exp(s₊) / (exp(s₊) + Σ_{j: y_j < y₊} w_j·exp(s_j)) )        L = Σ_q w₊·L(q) / Σ_q w₊

    Positives are the documents of the group's highest degree y₊; with several of them in a group each is
    contrasted alone with the negatives and L(q) is summed over them, each with its weight w₊.

    Args:
        scores: raw scores [queries, group].
        labels: relevance degrees [queries, group].
        weights: ≥ 0 [queries, group]; of a negative: its multiplicity.
        mask: False where there is no document [queries, group].

    Returns:
        A scalar ≥ 0; 0 where no group has both a positive and a negative.

    Source: Gao, Dai and Callan, "Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline", ECIR 2021,
    equation 4 (one positive a group).
    """
    weights = weights * mask
    present = weights > 0
    scores = scores.masked_fill(~present, 0.0)
    highest = labels.masked_fill(~present, -torch.inf).amax(-1, keepdim=True)
    positive = present & (labels == highest)
    negative = present & ~positive
    log_weights = torch.where(present, weights, torch.ones_like(weights)).log()
    lowest = torch.finfo(scores.dtype).min
    against = torch.logsumexp((scores + log_weights).masked_fill(~negative, lowest), dim=-1, keepdim=True)
    losses = torch.logaddexp(scores, against) - scores
    usable = positive & negative.any(-1, keepdim=True)
    return weighted_mean(losses.masked_fill(~usable, 0.0), weights * usable)
