"""Numbers as a reader wants them: counts with separators, shares in percent, durations, values with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def plural(number: float, noun: str, several: str = "") -> str:
    """`1 pair`, `2 pairs`, `3 queries`."""
    return f"{count(number)} {noun if number == 1 else several or noun + 's'}"


def share(part: float | None) -> str:
    """A share in [0, 1] as percent; small ones keep a digit."""
    if part is None:
        return "–"
    return f"{100 * part:.1f}\N{NO-BREAK SPACE}%" if 0 < part < 0.1 else f"{100 * part:.0f}\N{NO-BREAK SPACE}%"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def value(number: float | None, digits: int = 3) -> str:
    """With a real minus sign and no negative zero."""
    return "–" if number is None else f"{round(number, digits) + 0.0:.{digits}f}".replace("-", "−")


def signed(number: float | None, digits: int = 3) -> str:
    return "–" if number is None else f"{round(number, digits) + 0.0:+.{digits}f}".replace("-", "−")


def interval(entry: Mapping[str, float | None], digits: int = 3, sign: bool = False) -> str:
    """`0.512 [0.470, 0.553]`; the value alone where there is no interval."""
    write = signed if sign else value
    if entry["value"] is None:
        return "undefined"
    if entry["low"] is None:
        return write(entry["value"], digits)
    return f"{write(entry['value'], digits)} [{write(entry['low'], digits)}, {write(entry['high'], digits)}]"


def flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted name, value) rows."""
    if isinstance(values, Mapping):
        return [row for key, inner in values.items() for row in flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(values, list) and any(isinstance(inner, Mapping | list) for inner in values):
        return [row for place, inner in enumerate(values) for row in flat(inner, f"{prefix}[{place}]")]
    text = ", ".join(map(str, values)) if isinstance(values, list) else str(values)
    return [(prefix, text)] if text not in ("", "None") else []
