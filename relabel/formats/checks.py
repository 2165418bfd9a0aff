"""Checks of one value each: ids, texts, grades. Each returns the clean value or raises `BadRow` with what it found.

These are the rules that every format shares; `pair_checks` holds the same rules over whole Arrow columns.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from relabel.formats.faults import BadRow, shown
from relabel.records import Scale

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def clean_id(value: Any, name: str) -> str:
    """An id as a string; whole numbers are accepted and spelled out.

    Raises:
        BadRow: missing-id, wrong-type, nul-character, bad-encoding.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None:
        raise BadRow("missing-id", f"no {name}", f"a {name}")
    if not isinstance(value, str):
        raise BadRow("wrong-type", f"{name} {shown(value)} ({type(value).__name__})", "a string")
    if not value.strip():
        raise BadRow("missing-id", f"the empty {name} {value!r}", f"a {name}")
    _check_characters(value, name)
    return value


def clean_text(value: Any, name: str, limit: int, may_be_empty: bool = False) -> str:
    """A text of at most `limit` characters; null counts as empty.

    Raises:
        BadRow: empty-text, wrong-type, text-too-long, nul-character, bad-encoding.
    """
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise BadRow("wrong-type", f"{name} {shown(value)} ({type(value).__name__})", "a string")
    if len(value) > limit:
        raise BadRow("text-too-long", f"{name} of {len(value):,} characters", f"at most {limit:,} (max_text_chars)")
    if not may_be_empty and not value.strip():
        raise empty_text(name)
    _check_characters(value, name)
    return value


def empty_text(name: str) -> BadRow:
    """What is said of a query without text, or a document with neither title nor text."""
    return BadRow(
        "empty-text", f"an empty {name}", {"text": "a document with a text or a title"}.get(name, f"a {name}")
    )


def clean_grade(value: Any, scale: Scale, whole: bool) -> float:
    """A grade inside the scale, from a number or its text; `whole` wants one of the scale's grades exactly.

    Raises:
        BadRow: bad-grade, out-of-scale.
    """
    if isinstance(value, str):
        grade = float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    else:
        grade = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not math.isfinite(grade):
        raise BadRow("bad-grade", f"the grade {shown(value)}", f"a number out of {list(scale.grades)}")
    check_scale(grade, scale, whole)
    return grade


def check_scale(grade: float, scale: Scale, whole: bool) -> None:
    """Raises BadRow (out-of-scale) for a grade below the lowest or above the highest, or between two where `whole`."""
    if not scale.grades[0] <= grade <= scale.grades[-1]:
        raise BadRow(
            "out-of-scale", f"the grade {grade:g}", f"{scale.grades[0]} to {scale.grades[-1]}, or another scale.grades"
        )
    if whole and grade not in scale.grades:
        raise BadRow("out-of-scale", f"the human grade {grade:g}", f"one of {list(scale.grades)}")


def check_keys(row: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises BadRow (bad-columns) for a key that is a slip of a known one; other keys are somebody's own."""
    for key in row.keys() - set(known):
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
        if near and near[0] not in row:
            raise BadRow("bad-columns", f"the unknown key {key!r}", f"{near[0]!r}, if that is meant")


def text_id(prefix: str, *texts: str) -> str:
    """An id made from texts, for formats that give none: the prefix and 16 hexadecimal digits."""
    return f"{prefix}-{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:16]}"


def encodable(value: str, name: str) -> str:
    """`value`, which can be written as UTF-8.

    Raises:
        BadRow: bad-encoding, for half of a surrogate pair (JSON can spell one).
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        found = f"half a surrogate pair in {name}, at {error.start}"
        raise BadRow("bad-encoding", found, "text that can be written as UTF-8") from None
    return value


def _check_characters(value: str, name: str) -> None:
    if "\0" in value:
        raise BadRow("nul-character", f"a NUL character in {name}, at {value.index(chr(0))}", "text without NUL")
    encodable(value, name)
