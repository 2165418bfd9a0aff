"""The document stands between two pieces of another query's document, which together are no longer than itself.

What is added answers another question: a good judge must not give more for it. It may give less, as the answer must now
be looked for. The other query's document is taken as unrelated; in a collection about one subject it may not be.
"""

from __future__ import annotations

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting
from relabel.robustness.text_parts import halves, joined


def pad(pair: Pair, setting: Setting) -> Pair:
    words = setting.other.split()[: max(2, len(pair.text.split()))]
    before, after = halves(" ".join(words))
    return pair._replace(text=joined(before, pair.text, after)) if words else pair


PADDED = Perturbation("padded", Expectation.NOT_HIGHER, pad, teaches=False)
