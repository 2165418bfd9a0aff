"""An estimate as the lines that `relabel plan` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from relabel.words import count, duration, share, value


def estimate_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The table of the stages, the totals, the wall time for other numbers of actors, and where rates come from."""
    currency = found["prices"]["currency"]
    paid = bool(found["prices"]["actor_hour"])
    heads = [
        "stage",
        "rows",
        "tokens",
        "a pair",
        "cut",
        "twice",
        "start",
        "actors",
        "wall time",
        *(["money"] if paid else []),
    ]
    rows = [_row(stage, paid, currency) for stage in found["stages"]]
    total = found["total"]
    rows.append(
        [
            "in all",
            "",
            _tokens(total),
            "",
            "",
            "",
            "",
            "",
            span(total["seconds"], duration),
            *_paid(total, paid, currency),
        ]
    )
    yield from _columns([heads, *rows])
    yield ""
    for entry in found["actors"]:
        money = f", {_paid(entry, paid, currency)[0]}" if paid else ""
        yield (
            f"{count(entry['actors'])} actor(s) judging: {span(entry['seconds'], duration)}, "
            f"{span(entry['actor_hours'], lambda hours: value(hours, 2))} actor hours{money}"
        )
    yield ""
    for key, rate in found["rates"].items():
        unit = "s" if key.startswith("start ") else "a second"
        yield f"{key}: {span(rate, _number)} {unit} ({rate['source']})"
    yield from found["notes"]


def span(found: Mapping[str, float], write: Callable[[float], str]) -> str:
    """`3 min 10 s [2 min 40 s, 4 min 02 s]`; without the interval where it is the value."""
    middle, low, high = (write(found[name]) for name in ("value", "low", "high"))
    return middle if low == middle == high else f"{middle} [{low}, {high}]"


def _row(stage: Mapping[str, Any], paid: bool, currency: str) -> list[str]:
    about = "≈ " if stage["rows"]["low"] != stage["rows"]["high"] else ""
    rows = f"{about}{count(stage['rows']['value'])} {stage['unit']}" if stage["unit"] else ""
    if "done_seconds" in stage:
        done = f"done ({duration(stage['done_seconds'])})"
        return [stage["stage"], rows, "", "", "", "", "", "", done, *([""] if paid else [])]
    return [
        stage["stage"],
        rows,
        _tokens(stage),
        value(stage["mean_tokens"], 1) if "mean_tokens" in stage else "",
        share(stage["truncated_share"]) if "truncated_share" in stage else "",
        share(stage["duplicate_share"]) if "duplicate_share" in stage else "",
        duration(stage["start_seconds"]["value"]),
        count(stage["actors"]),
        span(stage["seconds"], duration),
        *_paid(stage, paid, currency),
    ]


def _tokens(entry: Mapping[str, Any]) -> str:
    return span(entry["tokens"], count) if entry.get("tokens", {}).get("value") else ""


def _paid(entry: Mapping[str, Any], paid: bool, currency: str) -> list[str]:
    return [f"{span(entry['money'], lambda amount: value(amount, 2))} {currency}"] if paid else []


def _number(number: float) -> str:
    return count(number) if number >= 100 else value(number, 2 if number < 10 else 1)


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
