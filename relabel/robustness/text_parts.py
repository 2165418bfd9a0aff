"""Where a text can be cut, and how parts become one: no characters are lost, only white space at the cuts."""

from __future__ import annotations

import re

#: After a sentence's end and before the next, or at a line break. Ideographic full stops need no space behind them.
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*|\s*\n\s*")
WORD = re.compile(r"\S+")


def sentences(text: str) -> list[str]:
    """The sentences of a text in their order, none empty; abbreviations count as ends."""
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]


def halves(text: str) -> tuple[str, str]:
    """The text cut after half of its words (one more in the first half of an odd number); one word, which may be a text
    without spaces, is cut by characters. The first half is empty only where the text is, the second of one character.
    """
    starts = [found.start() for found in WORD.finditer(text)]
    if len(starts) > 1:
        cut = starts[(len(starts) + 1) // 2]
    else:
        text = text.strip()
        cut = (len(text) + 1) // 2
    return text[:cut].rstrip(), text[cut:]


def joined(*parts: str) -> str:
    """The parts one a line, without those that are empty."""
    return "\n".join(part for part in parts if part)
