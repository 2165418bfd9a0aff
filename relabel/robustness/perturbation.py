"""What a perturbation is: a pure, seeded function of a pair, and what it may do to a good judge's grade.

    Pair (query, title, text), Setting (chance, answer, other text) → Pair

Invariant: the same pair, setting and seed give the same pair everywhere; a text that had characters keeps some.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import NamedTuple


class Pair(NamedTuple):
    """What a judge reads of a row of a pairs table."""

    query: str
    title: str
    text: str


class Expectation(StrEnum):
    """What a perturbation may do to the grade that a good judge gives."""

    UNCHANGED = "unchanged"  # the document says the same
    NOT_HIGHER = "not higher"  # nothing was added that answers the query; something may have been lost or blurred


@dataclass(frozen=True)
class Setting:
    """What a perturbation may use beside the pair.

    Attributes:
        random: the source of every choice.
        answer: the prompt's label of the highest grade, for texts that ask for it.
        other: the text of a document of another query.
    """

    random: Random
    answer: str
    other: str = ""


@dataclass(frozen=True)
class Perturbation:
    """One way to change a pair.

    Attributes:
        name: what recipes call it; without `#`, which separates it from the document's id.
        expectation: what a good judge's grade may do.
        apply: returns the pair itself where there is nothing to change (one sentence cannot be shuffled).
        attack: somebody who wants a higher grade would do this.
        teaches: a training example may be changed so: its grade stays true, and nothing beside the pair is needed.
    """

    name: str
    expectation: Expectation
    apply: Callable[[Pair, Setting], Pair]
    attack: bool = False
    teaches: bool = True


def chance(*parts: object) -> Random:
    """A source of choices that depends on all parts and on nothing else (process, machine)."""
    return Random(repr(parts))  # seeded by the string's SHA-512, not by its hash
