"""blend: soft labels between the original label and the judge's expected degree."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from relabel.labels.rule import Action, Decision, Evidence, Rule, ones


class Blend(Rule):
    """label = (1 − alpha) · original + alpha · judge's expected degree; unlabelled pairs take the judge's degree.

    The judge orders documents that share an original label, while the original label still counts.
    """

    name: ClassVar[str] = "blend"

    alpha: float = Field(0.5, ge=0, le=1, description="share of the judge in the label: 0 keeps, 1 replaces")

    def decide(self, evidence: Evidence) -> Decision:
        mixed = (1.0 - self.alpha) * evidence.original + self.alpha * evidence.degree
        return Decision(
            np.where(evidence.unlabelled, evidence.degree, mixed),
            ones(evidence),
            np.where(evidence.unlabelled, Action.LABELLED, Action.BLENDED).astype(np.int8),
        )
