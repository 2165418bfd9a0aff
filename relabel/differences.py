"""Where two configurations differ, by the path of the first key: what was begun in a folder takes no other one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """A key, dotted from the outermost, with its value on both sides; None where a side lacks it."""

    key: str
    before: Any
    now: Any


def first_difference(
    before: Any, now: Any, free: Collection[str] = (), key: str = "", chosen: Any = None
) -> Difference | None:
    """The first difference of two values of JSON, in the order of their keys, or None.

    Args:
        free: outermost keys that may differ.
        key: where the two values stand.
        chosen: `now` without what is at its default (pydantic's `exclude_defaults`). Where it is given, a key that is
            at its default now and that `before` lacks is no difference: the version that began did not know it.
    """
    if chosen is not None and isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return _first_in_lists(before, now, key, chosen)
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else Difference(key, before, now)
    for name in sorted({*before, *now} - {*free}):
        if chosen is not None and name not in before and name not in chosen:
            continue
        inner = None if chosen is None else chosen.get(name, {})
        found = first_difference(before.get(name), now.get(name), (), f"{key}.{name}" if key else name, inner)
        if found:
            return found
    return None


def _first_in_lists(before: list, now: list, key: str, chosen: Any) -> Difference | None:
    """The first difference of two lists of equal length; `chosen` as above, {} where `now` is at its default."""
    for place, (old, new) in enumerate(zip(before, now, strict=True)):
        inner = chosen[place] if isinstance(chosen, list) else {}
        found = first_difference(old, new, (), f"{key}.{place}", inner)
        if found:
            return found
    return None
