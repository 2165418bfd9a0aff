"""What a rule sees and what it decides: columns of numbers, one entry a pair, no tables and no files.

Degrees are relevance degrees in [0, 1] (`Scale.degree`), so that original labels and judgements of different scales
can be compared. Invariant: a rule reads `Evidence` and returns a `Decision` of the same length; it changes neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import Field

from relabel.config import Config
from relabel.records import Scale

#: Differences of degrees below this are rounding (labels are stored as 32-bit floats).
TOLERANCE = 1e-6


class Action(IntEnum):
    """What happened to a row; `word` is what the labels table says."""

    KEPT = 0  # the original label stays, or there was none and none is made
    REPLACED = 1  # the judge's degree stands in place of the original label
    PROMOTED = 2  # not relevant before (or unlabelled), relevant now
    DEMOTED = 3  # relevant before, not relevant now
    BLENDED = 4  # between the original label and the judge's degree
    LABELLED = 5  # had no original label, has the judge's degree now
    DROPPED_UNCERTAIN = 6  # weight 0: the judge spreads its probability
    DROPPED_CONTRADICTED = 7  # weight 0: the judge is sure of the opposite
    UNJUDGED = 8  # the judge could not grade the pair; the original label stays

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Evidence:
    """All that is known of n pairs.

    Attributes:
        original: degree of the original label, float64 [n]; NaN where the pair is unlabelled.
        probabilities: the judge's distribution over `judge_scale.grades`, float64 [n, grades]; NaN where unjudged.
        degree: the judge's expected degree, float64 [n]; NaN where unjudged.
        judged: whether the judge graded the pair, bool [n].
        original_scale: scale of the original labels; says which degrees were relevant.
        judge_scale: scale of the judge; says which grades it calls relevant.
    """

    original: np.ndarray
    probabilities: np.ndarray
    degree: np.ndarray
    judged: np.ndarray
    original_scale: Scale
    judge_scale: Scale

    @cached_property
    def unlabelled(self) -> np.ndarray:
        """Pairs without an original label, bool [n]."""
        return np.isnan(self.original)

    @cached_property
    def positive(self) -> np.ndarray:
        """Pairs whose original label says relevant, bool [n]."""
        return self.original >= self.original_scale.relevant_degree - TOLERANCE

    @cached_property
    def negative(self) -> np.ndarray:
        """Pairs whose original label says not relevant, bool [n]; unlabelled pairs are neither."""
        return self.original < self.original_scale.relevant_degree - TOLERANCE

    @cached_property
    def relevant(self) -> np.ndarray:
        """The judge's P(grade ≥ relevant_from), float64 [n]; NaN where unjudged."""
        return relevant_probability(self.probabilities, self.judge_scale)

    @property
    def top_irrelevant_degree(self) -> float:
        """Degree of the highest original grade that does not count as relevant."""
        grades = self.original_scale.grades
        return self.original_scale.degree(grades[grades.index(self.original_scale.relevant_from) - 1])


@dataclass(frozen=True)
class Decision:
    """New degree (float64 [n], NaN = none), weight in [0, 1] (float64 [n]) and `Action` codes (int8 [n])."""

    label: np.ndarray
    weight: np.ndarray
    action: np.ndarray


class Rule(Config):
    """A rule is its parameters, and `decide`.

    To add one: a file with a subclass, and its name in `RULES`. `decide` need not care about unjudged pairs or
    weights of unlabelled ones: `relabel.labels.adjust.decide` settles both the same way for every rule.
    """

    name: ClassVar[str]

    unjudged_weight: float = Field(
        1.0, ge=0, le=1, description="weight of pairs that the judge could not grade; they keep their original label"
    )

    def decide(self, evidence: Evidence) -> Decision:
        """The rule's decision over all rows; pure, no Python a row."""
        raise NotImplementedError

    def to_json(self) -> dict:
        """`{"rule": name, parameter: value, …}`, which `load_rule` reads back."""
        return {"rule": self.name, **self.model_dump(mode="json")}


def relevant_probability(probabilities: np.ndarray, scale: Scale) -> np.ndarray:
    """P(grade ≥ relevant_from) of distributions [n, grades], float64 [n]."""
    first = scale.grades.index(scale.relevant_from)
    return np.clip(probabilities[:, first:].sum(axis=1), 0.0, 1.0)


def filled(evidence: Evidence, action: Action) -> np.ndarray:
    """An int8 [n] array of one action."""
    return np.full(len(evidence.original), action, np.int8)


def ones(evidence: Evidence) -> np.ndarray:
    """Weight 1 for every row, float64 [n]."""
    return np.ones(len(evidence.original))
