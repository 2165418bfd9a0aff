"""Cost: seconds of each stage, tokens of each judge, and money at the recipe's price of an actor hour."""

from __future__ import annotations

from relabel.report.blocks import Block, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.words import count, duration, value

TITLE = "Cost"
#: Where the recipe says how many actors or workers a stage keeps busy, by its name or the first word of it.
ACTORS = {
    "generate-queries": ("generation", "actors"),
    "judge": ("judge", "actors"),
    "train-judge weak": ("weak_training", "workers"),
    "train-judge": ("judge_training", "workers"),
    "train-reranker": ("reranker", "workers"),
}


def section(run: Run) -> Section:
    stages = run.record.get("stages") or []
    if not stages and not run.judgements:
        return not_run("cost", TITLE, "a timed stage")
    prices = run.record.get("prices") or {}
    price, currency = prices.get("actor_hour"), prices.get("currency", "")
    blocks: list[Block] = []
    if stages:
        blocks.append(_stages(stages, run.record.get("recipe") or {}, price, currency))
    if run.judgements:
        blocks.append(
            Table(
                "Judging",
                ["judge", "pairs", "prompt tokens", "tokens a pair", "actor time", "tokens a second", "truncated"],
                [_judging(name, manifest) for name, manifest in run.judgements.items()],
            )
        )
    words = f"One actor or worker costs {value(price, 2)} {currency} an hour." if price else "No price was given."
    return Section("cost", TITLE, [*blocks, Text(words)])


def actors_of(stage: str, recipe: dict) -> int:
    """Actors or training workers that a stage keeps busy; 1 for the others."""
    part, field = ACTORS.get(stage) or ACTORS.get(stage.split(" ")[0], ("", ""))
    return (recipe.get(part) or {}).get(field) or 1


def _stages(stages: list[dict], recipe: dict, price: float | None, currency: str) -> Table:
    actors = [actors_of(stage["name"], recipe) for stage in stages]
    seconds = [stage["seconds"] for stage in stages]
    busy = [number * took for number, took in zip(actors, seconds, strict=True)]
    rows = [
        [stage["name"], duration(took), str(number), *_money(total, price, currency)]
        for stage, took, number, total in zip(stages, seconds, actors, busy, strict=True)
    ]
    rows.append(["in all", duration(sum(seconds)), "", *_money(sum(busy), price, currency)])
    return Table("Time of each stage", ["stage", "time", "actors", *(["money"] if price else [])], rows)


def _money(seconds: float, price: float | None, currency: str) -> list[str]:
    return [f"{value(seconds / 3600 * price, 2)} {currency}"] if price else []


def _judging(name: str, manifest) -> list[str]:
    about = manifest.about
    tokens, busy = about.get("tokens"), about.get("busy_seconds")
    rate = tokens / busy if tokens and busy else None
    each = tokens / manifest.rows if tokens and manifest.rows else None
    numbers = [manifest.rows, tokens, each]
    return [name, *map(count, numbers), duration(busy), count(rate), count(about.get("truncated"))]
