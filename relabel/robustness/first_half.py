"""Only the first half of the document is left.

What is left answers no more than the whole did: a good judge must not give more for it. It may well give less, so the
original grade is not taught with it.
"""

from __future__ import annotations

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting
from relabel.robustness.text_parts import halves


def cut(pair: Pair, setting: Setting) -> Pair:
    first, second = halves(pair.text)
    return pair._replace(text=first) if second else pair


FIRST_HALF = Perturbation("first-half", Expectation.NOT_HIGHER, cut, teaches=False)
