"""The document's sentences stand in another order.

Each sentence is still there, and an answer is mostly found in one or two of them: a good judge gives most documents the
same grade. Where an answer lives by its order (steps, "it" and "this") a lower grade is fair, so a small movement
downwards is no fault.
"""

from __future__ import annotations

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting
from relabel.robustness.text_parts import sentences


def shuffle(pair: Pair, setting: Setting) -> Pair:
    before = sentences(pair.text)
    after = setting.random.sample(before, len(before))
    if after == before:
        after = before[1:] + before[:1]
    return pair if after == before else pair._replace(text=" ".join(after))


SHUFFLED_SENTENCES = Perturbation("shuffled-sentences", Expectation.UNCHANGED, shuffle)
