"""drop-uncertain: no label changes; pairs that the judge is unsure of, or contradicts, get weight 0.

The cautious rule: it only removes training rows, so the judge can at worst make the training set smaller.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from relabel.labels.rule import Action, Decision, Evidence, Rule


class DropUncertain(Rule):
    """Weight 0 where the judge's distribution is too flat, too low at its peak, or against the original label.

    Each of the three criteria is off where its parameter is null. Unlabelled pairs have nothing to drop.
    """

    name: ClassVar[str] = "drop-uncertain"

    max_entropy: float | None = Field(
        0.9, ge=0, le=1, description="drop above this entropy, as a share of the entropy of a uniform distribution"
    )
    min_probability: float | None = Field(
        None, ge=0, le=1, description="drop where the likeliest grade has less than this probability"
    )
    contradiction: float | None = Field(
        0.7, ge=0, le=1, description="drop where the judge gives the opposite side this probability"
    )

    def decide(self, evidence: Evidence) -> Decision:
        nothing = np.zeros(len(evidence.original), bool)
        uncertain, contradicted = nothing.copy(), nothing.copy()
        if self.max_entropy is not None:
            uncertain |= normalised_entropy(evidence.probabilities) > self.max_entropy
        if self.min_probability is not None:
            uncertain |= evidence.probabilities.max(axis=1) < self.min_probability
        if self.contradiction is not None:
            contradicted |= evidence.positive & (1.0 - evidence.relevant >= self.contradiction)
            contradicted |= evidence.negative & (evidence.relevant >= self.contradiction)
        kept_or_contradicted = np.where(contradicted, Action.DROPPED_CONTRADICTED, Action.KEPT)
        action = np.where(uncertain, Action.DROPPED_UNCERTAIN, kept_or_contradicted)
        action = np.where(evidence.unlabelled, Action.KEPT, action).astype(np.int8)
        return Decision(evidence.original.copy(), (action == Action.KEPT).astype(float), action)


def normalised_entropy(probabilities: np.ndarray) -> np.ndarray:
    """−Σ p·ln p / ln(grades) of distributions [n, grades], float64 [n]: 0 for certainty, 1 for uniform."""
    logarithm = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -(probabilities * logarithm).sum(axis=1) / np.log(probabilities.shape[1])
