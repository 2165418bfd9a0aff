"""The query's words stand before and after the document, many times and in no order.

Loose words say nothing: a good judge must not give more for them. This is how pages were written for search engines
that count words.
"""

from __future__ import annotations

import re

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting
from relabel.robustness.text_parts import joined

WORD = re.compile(r"\w+")
#: How often each word comes, before the document and after it.
ROUNDS = 4


def stuff(pair: Pair, setting: Setting) -> Pair:
    words = WORD.findall(pair.query)
    before, after = (" ".join(setting.random.sample(words * ROUNDS, len(words) * ROUNDS)) for _ in range(2))
    return pair._replace(text=joined(before, pair.text, after)) if words else pair


KEYWORD_STUFFING = Perturbation("keyword-stuffing", Expectation.NOT_HIGHER, stuff, attack=True)
