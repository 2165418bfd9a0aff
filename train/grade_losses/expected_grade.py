"""Cross-entropy and the squared error of the expected grade, which is the score that re-rankers learn from."""

from __future__ import annotations

import torch

from train.grade_losses.cross_entropy import cross_entropy


def expected_grade(logprobs: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    """−log p(allowed) + d²/(grades − 1), d: how far Σ g·p(g) lies outside the allowed grades, in grades.

    Args:
        logprobs: log-probabilities over the grades [pairs, grades], each row summing to probability 1.
        lowest, highest: indices of the lowest and highest allowed grade [pairs].

    Returns:
        [pairs], ≥ 0.

    The sum and its weight are this project's own; the expected grade as a regression head: Rothe, Timofte and Van Gool,
    "Deep expectation of real and apparent age from a single image", IJCV 126 (2018).
    """
    grade = torch.arange(logprobs.shape[1], device=logprobs.device, dtype=logprobs.dtype)
    expected = logprobs.exp() @ grade
    outside = (lowest - expected).clamp(min=0) + (expected - highest).clamp(min=0)
    return cross_entropy(logprobs, lowest, highest) + outside.square() / (logprobs.shape[1] - 1)
