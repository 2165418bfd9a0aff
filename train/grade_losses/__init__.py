"""Losses of a judge by name: one file a loss, one line in `GRADE_LOSSES`.

Every loss is a pure function of three tensors and returns the loss of each pair [pairs]: log-probabilities over the
grades [pairs, grades], and the lowest and the highest grade that the label allows (indices, [pairs]). Both are equal
where a person gave a grade; a label that only says relevant or not allows several. Invariants, tested for every loss:
≥ 0, the order of pairs does not matter, and it is least for a judge that is sure of an allowed grade.

To add a loss: a file like its neighbours, and a line below. `pairwise` stands beside them: it compares pairs with
each other, and is added to any of them by `ranking_weight`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from train.grade_losses.cross_entropy import cross_entropy
from train.grade_losses.expected_grade import expected_grade
from train.grade_losses.pairwise import pairwise
from train.grade_losses.soft_targets import soft_targets

if TYPE_CHECKING:
    import torch

GradeLoss = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]

GRADE_LOSSES: dict[str, GradeLoss] = {
    "cross-entropy": cross_entropy,
    "soft-targets": soft_targets,
    "expected-grade": expected_grade,
}

__all__ = ["GRADE_LOSSES", "GradeLoss", "pairwise"]
