"""Work and rates become seconds, actor hours and money: of each stage, in all, and for other numbers of actors.

    seconds of a stage = start + work / rate / actors in use

A sharded stage has as many actors in use as it has shards to give them, in rounds of whole shards. Intervals (90 %)
come from draws: one draw of a rate holds for all stages that go at it, so that a slow machine is slow everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relabel.planning.rates import Rate
from relabel.planning.uncertain import DRAWS, Uncertain

#: Where a run folder keeps its estimate.
ESTIMATE = "estimate.json"


@dataclass(frozen=True)
class Work:
    """One stage of a run, as it will be named in run.json.

    Attributes:
        stage: its name.
        rows: what it goes through, in `unit`.
        load: what its rate counts (tokens, pairs); None: nothing but its start.
        rate: key of the rate; `start`: keys of its starts, each as often as it comes.
        tokens: that an engine will be given, where one is.
        actors: actors or workers that the recipe gives it.
        shards: shards in all; None: it is not sharded, and other numbers of actors do not change it.
        mean_tokens, truncated, duplicates: of a pair; shares of the pairs.
        done: seconds that it took already; it costs nothing more.
    """

    stage: str
    rows: Uncertain
    unit: str = "pairs"
    load: Uncertain | None = None
    rate: str = ""
    start: tuple[str, ...] = ()
    tokens: Uncertain | None = None
    actors: int = 1
    shards: int | None = None
    mean_tokens: float | None = None
    truncated: float | None = None
    duplicates: float | None = None
    done: float | None = None


def estimate(
    works: Sequence[Work], rates: Mapping[str, Rate], actors: Sequence[int], price: float, seed: int
) -> dict[str, Any]:
    """The estimate as JSON values.

    Args:
        works: the stages in their order.
        rates: key → rate a second of one actor, or seconds of a start.
        actors: numbers of actors of the sharded stages to tell the wall time for.
        price: of an actor hour.
        seed: of the draws.

    Returns:
        `stages`, `total` and `actors`, see docs/tables.md; every number is {`value`, `low`, `high`}.
    """
    random = np.random.default_rng(seed)
    used = {key for work in works for key in (work.rate, *work.start) if key}
    drawn = {key: rates[key].found.draws(random) for key in sorted(used)}
    times = [_Times(work, rates, drawn, random) for work in works]
    return {
        "stages": [_stage(work, time, price) for work, time in zip(works, times, strict=True)],
        "total": _total(works, times, None, price)
        | {"tokens": _sum([work.tokens for work in works if work.tokens and work.done is None], random)},
        "actors": [{"actors": count} | _total(works, times, count, price) for count in actors],
        "rates": {key: rates[key].to_json() for key in sorted(used)},
    }


class _Times:
    """Seconds of a stage as its value and its draws: start, and work of one actor."""

    def __init__(self, work: Work, rates: Mapping[str, Rate], drawn: Mapping[str, np.ndarray], random):
        self.work = work
        zero = (0.0, np.zeros(DRAWS))
        if work.done is not None:
            self.start, self.busy = zero, zero
            return
        self.start = sum(rates[key].found.value for key in work.start), sum((drawn[key] for key in work.start), zero[1])
        self.busy = zero
        if work.load and work.rate:
            self.busy = work.load.value / rates[work.rate].found.value, work.load.draws(random) / drawn[work.rate]

    def wall(self, actors: int | None) -> tuple[float, np.ndarray]:
        """Seconds with so many actors (None: as the recipe says)."""
        count = self.work.actors if actors is None or self.work.shards is None else actors
        share = 1 / count
        if self.work.shards:  # whole shards, in rounds
            share = -(-self.work.shards // count) / self.work.shards
        return self.start[0] + self.busy[0] * share, self.start[1] + self.busy[1] * share

    def paid(self, actors: int | None) -> tuple[float, np.ndarray]:
        """Actor seconds that are paid for: all of a stage's actors until its end."""
        count = self.work.actors if actors is None or self.work.shards is None else actors
        value, draws = self.wall(actors)
        return value * count, draws * count


def _stage(work: Work, time: _Times, price: float) -> dict[str, Any]:
    optional = {
        "tokens": work.tokens and work.tokens.to_json(),
        "mean_tokens": work.mean_tokens,
        "truncated_share": work.truncated,
        "duplicate_share": work.duplicates,
        "shards": work.shards,
        "done_seconds": work.done,
    }
    return {
        "stage": work.stage,
        "unit": work.unit,
        "rows": work.rows.to_json(),
        "actors": work.actors,
        "start_seconds": _json(time.start),
        "busy_seconds": _json(time.busy),
        "seconds": _json(time.wall(None)),
        "money": _json(time.paid(None), price / 3600),
        **{name: value for name, value in optional.items() if value is not None},
    }


def _total(works: Sequence[Work], times: Sequence[_Times], actors: int | None, price: float) -> dict[str, Any]:
    wall, paid = (_added([getattr(time, name)(actors) for time in times]) for name in ("wall", "paid"))
    return {"seconds": _json(wall), "actor_hours": _json(paid, 1 / 3600), "money": _json(paid, price / 3600)}


def _added(parts: Sequence[tuple[float, np.ndarray]]) -> tuple[float, np.ndarray]:
    return sum(value for value, _ in parts), sum((draws for _, draws in parts), np.zeros(DRAWS))


def _sum(parts: Sequence[Uncertain], random: np.random.Generator) -> dict[str, float]:
    return _json((sum(part.value for part in parts), sum((part.draws(random) for part in parts), np.zeros(DRAWS))))


def _json(quantity: tuple[float, np.ndarray], factor: float = 1.0) -> dict[str, float]:
    value, draws = quantity
    found = Uncertain.between(value * factor, draws * factor).to_json()
    return {name: round(number, 4) for name, number in found.items()}
