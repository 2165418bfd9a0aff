"""promote-negatives: pairs labelled not relevant become relevant where the judge is sure enough that they are.

For labels from known answers, first-stage hits or sparse annotation, where positives can be trusted and many
"negatives" are relevant documents that nobody looked at.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from relabel.labels.rule import Action, Decision, Evidence, Rule, ones


class PromoteNegatives(Rule):
    """An original negative becomes positive where P(grade ≥ relevant_from) ≥ `threshold`.

    Its new degree is the judge's expected degree, but at least the lowest relevant degree of the original scale (1 on
    a binary scale), so that a promoted pair is never below a pair that was labelled relevant with that grade.
    """

    name: ClassVar[str] = "promote-negatives"

    threshold: float = Field(0.7, ge=0, le=1, description="least probability of relevance that promotes, in [0, 1]")
    include_unlabelled: bool = Field(True, description="whether pairs without an original label may be promoted too")

    def decide(self, evidence: Evidence) -> Decision:
        candidates = evidence.negative | evidence.unlabelled if self.include_unlabelled else evidence.negative
        promoted = candidates & (evidence.relevant >= self.threshold)
        positive = np.maximum(evidence.degree, evidence.original_scale.relevant_degree)
        return Decision(
            np.where(promoted, positive, evidence.original),
            ones(evidence),
            np.where(promoted, Action.PROMOTED, Action.KEPT).astype(np.int8),
        )
