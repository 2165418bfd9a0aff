"""Cross-entropy against a target that gives neighbouring grades a share: to miss by one is better than by three."""

from __future__ import annotations

import torch

from train.grade_losses.cross_entropy import allowed

#: How fast a grade's share of the target falls with its distance: e^(−SHARPNESS · distance).
SHARPNESS = 1.5


def soft_targets(
    logprobs: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor, sharpness: float = SHARPNESS
) -> torch.Tensor:
    """Kullback–Leibler divergence from t(g) ∝ e^(−sharpness · distance of g to the allowed grades).

    Where several grades are allowed, only the mass off them is asked to fall off so: among themselves the judge's own
    shares are the target, since the label says nothing about them.

    Args:
        logprobs: log-probabilities over the grades [pairs, grades], each row summing to probability 1.
        lowest, highest: indices of the lowest and highest allowed grade [pairs].
        sharpness: the larger, the nearer to plain cross-entropy.

    Returns:
        [pairs], ≥ 0, in nats.

    Source: the ordinal soft labels of Díaz and Marathe, "Soft Labels for Ordinal Regression", CVPR 2019, equation 1,
    with the absolute distance.
    """
    grade = torch.arange(logprobs.shape[1], device=logprobs.device)
    distance = (lowest[:, None] - grade).clamp(min=0) + (grade - highest[:, None]).clamp(min=0)
    inside = allowed(logprobs, lowest, highest)
    own = logprobs.detach().masked_fill(~inside, -torch.inf).softmax(-1)
    target = torch.where(inside, own, torch.exp(-sharpness * distance))
    target = target / target.sum(-1, keepdim=True)
    return torch.where(target > 0, target * (target.clamp(min=1e-30).log() - logprobs), 0.0).sum(-1)
