"""demote-positives: pairs labelled relevant become not relevant where the judge is sure enough that they are not.

For labels from clicks, synthetic queries or mined pairs, where a positive may be noise.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from relabel.labels.rule import Action, Decision, Evidence, Rule, ones


class DemotePositives(Rule):
    """An original positive becomes negative where P(grade < relevant_from) ≥ `threshold`.

    Its new degree is the judge's expected degree, but at most the highest degree of the original scale that is not
    relevant (0 on a binary scale). Unlabelled pairs stay unlabelled.
    """

    name: ClassVar[str] = "demote-positives"

    threshold: float = Field(0.7, ge=0, le=1, description="least probability of irrelevance that demotes, in [0, 1]")

    def decide(self, evidence: Evidence) -> Decision:
        demoted = evidence.positive & (1.0 - evidence.relevant >= self.threshold)
        negative = np.minimum(evidence.degree, evidence.top_irrelevant_degree)
        return Decision(
            np.where(demoted, negative, evidence.original),
            ones(evidence),
            np.where(demoted, Action.DEMOTED, Action.KEPT).astype(np.int8),
        )
