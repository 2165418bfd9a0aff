"""`panel.json`: the members of a panel, the features that are taken of them, and the coefficients that combine them.

What is read is checked in full, since a folder may come from anywhere: finite coefficients of the right number, falling
thresholds, members that are no panels, and an id that is the hash of all that decides an answer. Invariant: two panels
that could answer differently have different ids.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from relabel.config import Config
from relabel.errors import InputError
from relabel.panel.ordinal import OrdinalModel
from relabel.records import Scale, ScaleConfig
from relabel.storage import Folder

PANEL = "panel.json"
FeatureKind = Literal["thresholds", "degree"]
#: Probabilities are kept off 0 and 1 by this before their log-odds are taken.
EDGE = 1e-6


class Member(Config):
    """One judge of a panel.

    Attributes:
        name: the last part of the judgements that it was fitted on.
        judge_id: its id; a judge that has another one here is refused.
        scale: the grades of its distributions.
        config: the keys of `judge` that make it again; null where its judgements did not say.
    """

    name: str = Field(min_length=1, max_length=200)
    judge_id: str = Field(min_length=1, max_length=200)
    scale: ScaleConfig
    config: dict[str, Any] | None = None


class PanelRecord(Config):
    """What decides the answers of a panel, and how it was fitted.

    Attributes:
        kind, version: what the file is.
        panel_id: `panel-` and a hash of everything but `fit` and `measures`.
        scale: the grades of the human labels, which the panel gives.
        features: what is taken of each member (see `member_features`).
        members: in the order of their features.
        thresholds: θ of the ordinal model, one a grade but the lowest, falling.
        weights: of the features, one list a member.
        fit: what it was fitted on.
        measures: cross-fitted, see `contributions`.
    """

    FIXED: ClassVar[tuple[str, ...]] = ("version", "scale", "features", "thresholds", "weights")

    kind: Literal["panel"] = "panel"
    version: Literal[1] = 1
    panel_id: str = ""
    scale: ScaleConfig
    features: FeatureKind
    members: list[Member] = Field(min_length=1, max_length=64)
    thresholds: list[float]
    weights: list[list[float]]
    fit: dict[str, Any] = Field(default_factory=dict)
    measures: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> PanelRecord:
        grades = len(self.scale.scale().grades)
        for member in self.members:
            member.scale.scale()
            if (member.config or {}).get("engine") == "panel":
                raise ValueError("members that are no panels themselves")
        wanted = [feature_count(self.features, len(member.scale.grades)) for member in self.members]
        if [len(one) for one in self.weights] != wanted or len(self.thresholds) != grades - 1:
            raise ValueError(f"{grades - 1} thresholds, and {wanted} weights of the members")
        if not all(map(math.isfinite, [*self.thresholds, *(value for one in self.weights for value in one)])):
            raise ValueError("finite coefficients")
        if any(low >= high for high, low in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise ValueError("falling thresholds")
        return self

    @property
    def hashed_id(self) -> str:
        """The id that this content has."""
        facts = self.model_dump(mode="json", include=set(self.FIXED))
        facts["members"] = [[member.judge_id, member.scale.grades] for member in self.members]
        return f"panel-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}"

    @property
    def judge_scale(self) -> Scale:
        return self.scale.scale()

    def logprobs(self, probabilities: list[np.ndarray]) -> np.ndarray:
        """Log-probabilities of the panel's grades [rows, grades] from each member's distributions [rows, grades]."""
        features = np.hstack([member_features(one, self.features) for one in probabilities])
        return OrdinalModel(np.array(self.thresholds), np.concatenate(self.weights)).logprobs(features)


def member_features(probabilities: np.ndarray, kind: FeatureKind) -> np.ndarray:
    """What the ordinal model sees of a member's distributions [rows, grades].

    `degree`: the log-odds of the expected degree, [rows, 1]. `thresholds`: the log-odds of P(grade ≥ k) for each grade
    but the lowest, [rows, grades − 1]. Nothing else of the pair is looked at.
    """
    probabilities = np.asarray(probabilities, float)
    at_least = np.cumsum(probabilities[:, :0:-1], axis=1)[:, ::-1]
    share = at_least.mean(axis=1, keepdims=True) if kind == "degree" else at_least
    share = np.clip(share, EDGE, 1 - EDGE)
    return np.log(share) - np.log1p(-share)


def feature_count(kind: FeatureKind, grades: int) -> int:
    return 1 if kind == "degree" else grades - 1


def write_panel(folder: Folder, record: PanelRecord) -> PanelRecord:
    """Write `panel.json` with the id of its content; returns what was written."""
    record = record.model_copy(update={"panel_id": record.hashed_id})
    folder.write_json(PANEL, record.model_dump(mode="json"))
    return record


def read_panel(folder: Folder) -> PanelRecord:
    """The panel of a folder that `fit-panel` wrote.

    Raises:
        InputError: where there is none, or its content does not give its id.
        ConfigError: where a key is unknown, missing or ill-typed.
    """
    address = f"{folder.uri}/{PANEL}"
    if not folder.exists(PANEL):
        raise InputError(f"panel {folder.uri}", f"no {PANEL}", "a folder that `relabel fit-panel` wrote", "set --model")
    record = PanelRecord.load(folder.read_json(PANEL), address)
    if record.panel_id != record.hashed_id:
        raise InputError(
            f"{address}: panel_id",
            f"{record.panel_id!r} for content that gives {record.hashed_id!r}",
            "a file as it was written",
            "fit the panel again",
        )
    return record
