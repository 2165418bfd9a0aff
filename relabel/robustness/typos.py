"""Two neighbouring letters change places inside one word of ten, in the text alone.

People read over such slips: a good judge gives the same grade. First and last letters stay, as do words of less than
four letters and everything that is not a letter, such as numbers.
"""

from __future__ import annotations

import re

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting

LONG_WORD = re.compile(r"[^\W\d_]{4,}")
#: One of so many long words gets a slip, at least one where there is any.
WORDS_A_SLIP = 10


def mistype(pair: Pair, setting: Setting) -> Pair:
    words = list(LONG_WORD.finditer(pair.text))
    if not words:
        return pair
    text = pair.text
    for word in setting.random.sample(words, -(-len(words) // WORDS_A_SLIP)):
        places = [at for at in range(word.start() + 1, word.end() - 2) if text[at] != text[at + 1]]
        if not places:
            continue
        place = setting.random.choice(places)
        text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return pair._replace(text=text)


TYPOS = Perturbation("typos", Expectation.UNCHANGED, mistype)
