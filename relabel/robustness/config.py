"""What the robustness suite is told: which perturbations, how many pairs, which judge."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from relabel.config import Config
from relabel.judges import JudgeConfig
from relabel.robustness import PERTURBATIONS, perturbation_named


class RobustnessOptions(Config):
    """How a judge's robustness is tried; a recipe's section `robustness`.

    Attributes:
        perturbations: names of `relabel.robustness.PERTURBATIONS`.
        max_pairs: labelled pairs that are perturbed, at most; labels and queries are spread evenly. Each costs a
            judgement for itself and one for each perturbation.
        resamples: bootstrap resamples of the intervals.
        seed: of the choice of pairs and of every perturbation.
    """

    perturbations: list[str] = Field(default_factory=lambda: list(PERTURBATIONS), min_length=1)
    max_pairs: int = Field(300, ge=1)
    resamples: int = Field(1000, ge=100)
    seed: int = Field(0, ge=0)

    @field_validator("perturbations")
    @classmethod
    def _known_and_once(cls, names: list[str]) -> list[str]:
        for name in names:
            perturbation_named(name)
            if names.count(name) > 1:
                raise ValueError(f"each perturbation once, not {name!r} twice")
        return names


class RobustnessConfig(RobustnessOptions):
    """What `relabel robustness` needs.

    Attributes:
        pairs: address of a pairs table with labels, best human ones that the judge was not trained on.
        judge: the judge, as in `relabel judge`, but for `pairs`; its fields are options of their own.
    """

    pairs: str
    judge: JudgeConfig = JudgeConfig()

    #: Parts whose fields are options of their own as well.
    INLINE: ClassVar[tuple[str, ...]] = ("judge",)

    @field_validator("judge")
    @classmethod
    def _judges_the_variants(cls, judge: JudgeConfig) -> JudgeConfig:
        if judge.pairs:
            raise ValueError("no 'pairs' in judge: it judges the variants of the stage's own pairs")
        return judge
