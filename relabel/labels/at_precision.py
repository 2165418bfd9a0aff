"""at-precision: labels change only where human grades promise that enough of the changed ones are right.

The thresholds are learned by `relabel.promises.learn` when the rule is applied; `promise.json` beside the labels says
what was promised on which data.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from relabel.errors import ConfigError
from relabel.labels.rule import TOLERANCE, Action, Decision, Evidence, Rule, ones


class AtPrecision(Rule):
    """A negative is promoted where P(relevant) ≥ `promote_from`, a positive demoted where P(not relevant) ≥
    `demote_from`; a direction without a threshold changes nothing.

    New degrees are those of `promote-negatives` and `demote-positives`. Each direction's promise fails with probability
    `delta` at most, over the human grades that it was learned on.
    """

    name: ClassVar[str] = "at-precision"

    target: float = Field(0.9, gt=0.5, lt=1, description="least expected precision of the changed labels")
    delta: float = Field(0.1, gt=0, lt=0.5, description="how often a promise may be broken, over draws of human grades")
    unit: Literal["query", "pair"] = Field(
        "query",
        description="what is independent. query: the mean over queries of a query's precision is promised; pair: the "
        "share of right pairs, for human pairs that are drawn one by one (Clopper-Pearson)",
    )
    directions: list[Literal["promote", "demote"]] = Field(
        default_factory=lambda: ["promote", "demote"], min_length=1, description="what may change"
    )
    include_unlabelled: bool = Field(True, description="whether pairs without an original label may be promoted too")
    learned: bool = Field(False, description="set when the thresholds were learned; not for recipes")
    promote_from: float | None = Field(None, ge=0, le=1, description="learned; not for recipes")
    demote_from: float | None = Field(None, ge=0, le=1, description="learned; not for recipes")

    def decide(self, evidence: Evidence) -> Decision:
        """Raises ConfigError where no thresholds were learned."""
        if not self.learned:
            raise ConfigError(
                "rule at-precision",
                "no thresholds",
                "human grades to learn them on",
                "give --human and --human-judgements to `relabel adjust`, or held_out in a recipe",
            )
        candidates = evidence.negative | evidence.unlabelled if self.include_unlabelled else evidence.negative
        promoted, demoted = np.zeros((2, len(evidence.original)), bool)
        if self.promote_from is not None:
            promoted = candidates & (evidence.relevant >= self.promote_from - TOLERANCE)
        if self.demote_from is not None:
            demoted = evidence.positive & (1.0 - evidence.relevant >= self.demote_from - TOLERANCE)
        positive = np.maximum(evidence.degree, evidence.original_scale.relevant_degree)
        negative = np.minimum(evidence.degree, evidence.top_irrelevant_degree)
        label = np.where(promoted, positive, np.where(demoted, negative, evidence.original))
        action = np.where(promoted, Action.PROMOTED, np.where(demoted, Action.DEMOTED, Action.KEPT))
        return Decision(label, ones(evidence), action.astype(np.int8))
