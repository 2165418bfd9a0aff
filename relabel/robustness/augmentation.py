"""Perturbed training examples: a share is perturbed and keeps its grades, so that a judge learns not to move.

A document may have several queries, which share its text: it is perturbed with one of them in mind, drawn by chance, so
that a judge also sees documents that repeat a query which they do not answer. A pure function of (seed, epoch, document
and its queries): an epoch can be written again, by any number of workers. Only perturbations that leave the grade true
are taken (`Perturbation.teaches`).
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
        share: of the examples that are perturbed, in [0, 1], an example being a document with all its queries; drawn
            anew each epoch.
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


def augmented(document: dict[str, Any], options: Augmentation, answer: str, seed: int, epoch: int) -> dict[str, Any]:
    """The document, or with the probability `options.share` a copy whose text is perturbed.

    Args:
        document: has `title`, `text`, `queries` (list); everything else, such as the grades, stays.
        answer: the prompt's label of the highest grade.
    """
    if not options.share:
        return document
    title, text, queries = document["title"], document["text"], document["queries"]
    random = chance("augmentation", seed, epoch, title, text, queries)
    if random.random() >= options.share:
        return document
    place = random.randrange(len(queries))
    perturbation = perturbation_named(random.choice(options.perturbations))
    pair = perturbation.apply(Pair(queries[place], title, text), Setting(random, answer))
    changed = [*queries[:place], pair.query, *queries[place + 1 :]]
    return document | {"title": pair.title, "text": pair.text, "queries": changed}
