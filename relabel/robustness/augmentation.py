"""Perturbed training examples: a share is perturbed and keeps its grade, so that a judge learns not to move.

A pure function of (seed, epoch, pair): an epoch can be written again, by any number of workers. Only perturbations
that leave the grade true are taken (`Perturbation.teaches`).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from relabel.config import Config
from relabel.robustness import PERTURBATIONS, Pair, Setting, chance, perturbation_named


class Augmentation(Config):
    """Perturbed training examples.

    Attributes:
        perturbations: names of `relabel.robustness.PERTURBATIONS`; one of them is drawn for each perturbed example.
        share: of the examples that are perturbed, in [0, 1]; drawn anew each epoch.
    """

    perturbations: list[str] = Field(default_factory=list)
    share: float = Field(0.0, ge=0, le=1)

    @field_validator("perturbations")
    @classmethod
    def _grades_stay_true(cls, names: list[str]) -> list[str]:
        for name in names:
            if not perturbation_named(name).teaches:
                allowed = ", ".join(other.name for other in PERTURBATIONS.values() if other.teaches)
                raise ValueError(f"perturbations that keep a grade true ({allowed}), not {name!r}")
        return names

    @model_validator(mode="after")
    def _something_to_draw(self) -> Augmentation:
        if self.share and not self.perturbations:
            raise ValueError("perturbations to draw from where share is above 0")
        return self


def augmented(row: dict[str, Any], options: Augmentation, answer: str, seed: int, epoch: int) -> dict[str, Any]:
    """The training example, or with the probability `options.share` a copy whose texts are perturbed.

    Args:
        row: has `query_id`, `doc_id`, `query`, `title`, `text`; everything else, such as the grade, stays.
        answer: the prompt's label of the highest grade.
    """
    if not options.share:
        return row
    random = chance("augmentation", seed, epoch, row["query_id"], row["doc_id"])
    if random.random() >= options.share:
        return row
    perturbation = perturbation_named(random.choice(options.perturbations))
    pair = perturbation.apply(Pair(row["query"], row["title"], row["text"]), Setting(random, answer))
    return row | pair._asdict()
