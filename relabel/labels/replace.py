"""replace: the judge's degree stands in place of every original label, unlabelled pairs included."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from relabel.labels.rule import TOLERANCE, Action, Decision, Evidence, Rule, ones


class Replace(Rule):
    """The judge decides alone: its expected degree (soft labels) or the degree of its most probable grade (hard ones).

    Expected degrees order the documents of a query finely and suit list-wise and regression losses; hard grades keep
    ties and suit losses that read grades.
    """

    name: ClassVar[str] = "replace"

    use: Literal["expected", "argmax"] = Field(
        "expected", description="expected: the mean degree under the judge's distribution; argmax: its likeliest grade"
    )

    def decide(self, evidence: Evidence) -> Decision:
        label = evidence.degree if self.use == "expected" else likeliest_degree(evidence)
        changed = np.where(np.abs(label - evidence.original) > TOLERANCE, Action.REPLACED, Action.KEPT)
        action = np.where(evidence.unlabelled, Action.LABELLED, changed).astype(np.int8)
        return Decision(label.copy(), ones(evidence), action)


def likeliest_degree(evidence: Evidence) -> np.ndarray:
    """Degree of the most probable grade, float64 [n]; the lower grade where two are equal."""
    degrees = evidence.judge_scale.degree(np.array(evidence.judge_scale.grades, float))
    return degrees[evidence.probabilities.argmax(axis=1)]
