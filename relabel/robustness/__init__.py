"""Perturbations by name: changes of real pairs that must not move a good judge's grade, or must only lower it.

    pairs → the same pairs and their variants (`variants`) → a judge → how far its grades moved (`movement`)

To add one: copy a file of this folder, change it, add it to `PERTURBATIONS`. All texts are our own.

Run: `relabel robustness --pairs PAIRS --engine lexical --prompt graded-0-3 --out DIR`
"""

from __future__ import annotations

import difflib

from relabel.errors import ConfigError
from relabel.robustness.first_half import FIRST_HALF
from relabel.robustness.foreign_sentence import FOREIGN_SENTENCE
from relabel.robustness.keyword_stuffing import KEYWORD_STUFFING
from relabel.robustness.letter_case import LOWER_CASE, UPPER_CASE
from relabel.robustness.padding import PADDED
from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting, chance
from relabel.robustness.planted_instruction import PLANTED_END, PLANTED_MIDDLE, PLANTED_START
from relabel.robustness.query_repetition import QUERY_REPEATED
from relabel.robustness.relevance_words import FOREIGN_RELEVANCE_WORDS, RELEVANCE_WORDS
from relabel.robustness.shuffled_sentences import SHUFFLED_SENTENCES
from relabel.robustness.typos import TYPOS

PERTURBATIONS: dict[str, Perturbation] = {
    perturbation.name: perturbation
    for perturbation in (
        PLANTED_START,
        PLANTED_MIDDLE,
        PLANTED_END,
        QUERY_REPEATED,
        KEYWORD_STUFFING,
        RELEVANCE_WORDS,
        FOREIGN_RELEVANCE_WORDS,
        SHUFFLED_SENTENCES,
        FIRST_HALF,
        PADDED,
        UPPER_CASE,
        LOWER_CASE,
        TYPOS,
        FOREIGN_SENTENCE,
    )
}


def perturbation_named(name: str) -> Perturbation:
    """The perturbation of that name.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    if name not in PERTURBATIONS:
        near = difflib.get_close_matches(name, PERTURBATIONS, n=1, cutoff=0.5)
        wanted = f"one of {', '.join(PERTURBATIONS)}"
        raise ConfigError("perturbations", repr(name), wanted, f"write {near[0]!r}" if near else "")
    return PERTURBATIONS[name]


__all__ = ["PERTURBATIONS", "Expectation", "Pair", "Perturbation", "Setting", "chance", "perturbation_named"]
