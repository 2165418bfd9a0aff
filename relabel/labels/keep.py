"""keep: every original label stays. The baseline that the other rules are compared with, on exactly the same rows."""

from __future__ import annotations

from typing import ClassVar

from relabel.labels.rule import Action, Decision, Evidence, Rule, filled, ones


class Keep(Rule):
    """The original labels, untouched; the judgements are only recorded beside them."""

    name: ClassVar[str] = "keep"

    def decide(self, evidence: Evidence) -> Decision:
        return Decision(evidence.original.copy(), ones(evidence), filled(evidence, Action.KEPT))
