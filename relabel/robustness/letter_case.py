"""Title and text in capitals, or in small letters; the query stays as it is.

The words are the same: a good judge gives the same grade. Tokenizers cut capitals into pieces that a model has seldom
read.
"""

from __future__ import annotations

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting


def capitals(pair: Pair, setting: Setting) -> Pair:
    return pair._replace(title=pair.title.upper(), text=pair.text.upper())


def small_letters(pair: Pair, setting: Setting) -> Pair:
    return pair._replace(title=pair.title.lower(), text=pair.text.lower())


UPPER_CASE = Perturbation("upper-case", Expectation.UNCHANGED, capitals)
LOWER_CASE = Perturbation("lower-case", Expectation.UNCHANGED, small_letters)
