"""Cost: seconds of each stage, tokens of each judge, and money at the recipe's price."""

from __future__ import annotations

from relabel.report.blocks import Block, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.report.words import count, duration, value

TITLE = "Cost"


def section(run: Run) -> Section:
    stages = run.record.get("stages") or []
    if not stages and not run.judgements:
        return not_run("cost", TITLE, "a timed stage")
    price, currency = price_of(run)
    blocks: list[Block] = []
    if stages:
        seconds = [stage.get("seconds") or 0.0 for stage in stages]
        rows = [
            [stage["name"], duration(stage.get("seconds")), *_money(stage.get("seconds") or 0.0, price, currency)]
            for stage in stages
        ]
        rows.append(["in all", duration(sum(seconds)), *_money(sum(seconds), price, currency)])
        blocks.append(Table("Time of each stage", ["stage", "time", *(["money"] if price else [])], rows))
    if run.judgements:
        blocks.append(
            Table(
                "Judging",
                ["judge", "pairs", "prompt tokens", "tokens a pair", "actor time", "tokens a second", "truncated"],
                [_judging(name, manifest) for name, manifest in run.judgements.items()],
            )
        )
    words = (
        f"Money at {value(price, 2)} {currency} an hour, from the recipe." if price else "The recipe names no price."
    )
    return Section("cost", TITLE, [*blocks, Text(words)])


def price_of(run: Run) -> tuple[float | None, str]:
    """Price of the machine an hour and its currency, from run.json; None where there is none."""
    prices = run.record.get("prices") or {}
    price = next((prices[key] for key in ("per_hour", "machine_hour", "hour") if prices.get(key)), None)
    return price, str(prices.get("currency") or "USD")


def _money(seconds: float, price: float | None, currency: str) -> list[str]:
    return [f"{value(seconds / 3600 * price, 2)} {currency}"] if price else []


def _judging(name: str, manifest) -> list[str]:
    about = manifest.about
    tokens, busy = about.get("tokens"), about.get("busy_seconds")
    rate = tokens / busy if tokens and busy else None
    each = tokens / manifest.rows if tokens and manifest.rows else None
    numbers = [manifest.rows, tokens, each]
    return [name, *map(count, numbers), duration(busy), count(rate), count(about.get("truncated"))]
