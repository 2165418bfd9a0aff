"""Ranking losses by name: one file a loss, one line in `LOSSES`.

Every loss is a pure function of four tensors [queries, group] and returns a scalar that can be differentiated:
raw scores, labels (relevance degrees in [0, 1]), weights (≥ 0) and a boolean mask (False: padding). Invariants, tested
for every loss: padding and order do not matter; a document of weight 2 counts as two copies of it; weight 0 equals
padding; a query without anything to learn from contributes nothing, never NaN.

To add a loss: a file like its neighbours, and a line below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from train.losses.bce import bce
from train.losses.lce import lce
from train.losses.listnet import listnet
from train.losses.mse import mse
from train.losses.ranknet import ranknet

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Loss:
    """A loss and the groups it wants.

    Attributes:
        function: (scores, labels, weights, mask) → scalar.
        grouping: `per-query`: documents of a query as they come; `per-positive`: one positive with negatives.
        pointwise: the absolute value of a score matters, not only differences within a query.
    """

    function: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    grouping: Literal["per-query", "per-positive"] = "per-query"
    pointwise: bool = False


LOSSES: dict[str, Loss] = {
    "bce": Loss(bce, pointwise=True),
    "mse": Loss(mse, pointwise=True),
    "ranknet": Loss(ranknet),
    "listnet": Loss(listnet),
    "lce": Loss(lce, grouping="per-positive"),
}
