"""Work and rates become time and money: by hand, in rounds of whole shards, with intervals that add up."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.planning.estimate import Work, estimate
from relabel.planning.rates import Rate
from relabel.planning.text import estimate_lines
from relabel.planning.uncertain import Uncertain


def exactly(value: float) -> Rate:
    return Rate(Uncertain.exactly(value), "by hand")


RATES = {"judge": exactly(100.0), "start judge": exactly(50.0), "training": exactly(2.0), "start ray": exactly(10.0)}
JUDGE = Work(
    "judge",
    Uncertain.exactly(300),
    load=Uncertain.exactly(6_000),
    rate="judge",
    start=("start judge",),
    tokens=Uncertain.exactly(6_000),
    shards=3,
)
TRAIN = Work("train-judge", Uncertain.exactly(80), load=Uncertain.exactly(80), rate="training", actors=1)


def test_seconds_and_money_of_a_stage_are_those_by_hand():
    """6,000 tokens at 100 a second after a start of 50 s are 110 s; an hour at 36 makes 0.01 a second."""
    found = estimate([JUDGE, TRAIN], RATES, [1], 36.0, 0)
    judge, train = found["stages"]
    assert judge["seconds"] == {"value": 110, "low": 110, "high": 110}
    assert judge["busy_seconds"]["value"] == 60
    assert judge["money"]["value"] == pytest.approx(1.10)
    assert train["seconds"]["value"] == 40
    assert found["total"]["seconds"]["value"] == 150
    assert found["total"]["money"]["value"] == pytest.approx(1.5)
    assert found["total"]["tokens"]["value"] == 6_000
    assert found["total"]["actor_hours"]["value"] == pytest.approx(150 / 3600, abs=1e-4)


@pytest.mark.parametrize(("actors", "wall"), [(1, 110), (2, 90), (3, 70), (8, 70)])
def test_more_actors_help_as_far_as_there_are_shards(actors, wall):
    """Three shards of 20 s: two actors need two rounds, three one, eight no less; all of them are paid for."""
    (entry,) = estimate([JUDGE], RATES, [actors], 3600.0, 0)["actors"]
    assert entry["seconds"]["value"] == wall
    assert entry["money"]["value"] == wall * actors


def test_training_gets_no_more_workers_than_the_recipe_says():
    """Only stages with shards are spread over other numbers of actors."""
    one, many = estimate([TRAIN], RATES, [1, 64], 1.0, 0)["actors"]
    assert one["seconds"] == many["seconds"]


def test_what_is_done_costs_nothing_more():
    """A finished stage stays in the table and out of the sums."""
    done = Work("prepare pairs", Uncertain.exactly(300), done=4.0)
    found = estimate([done, TRAIN], RATES, [1], 1.0, 0)
    assert found["stages"][0]["done_seconds"] == 4.0
    assert found["total"]["seconds"]["value"] == 40


def test_a_rate_is_slow_for_all_of_its_stages_at_once():
    """Two stages at one uncertain rate have the interval of twice the work, not the narrower one of two independent."""
    rates = RATES | {"judge": Rate(Uncertain.within(100, 2), "default"), "start judge": exactly(0)}
    one = estimate([JUDGE], rates, [1], 1.0, 0)["total"]["seconds"]
    two = estimate([JUDGE, JUDGE], rates, [1], 1.0, 0)["total"]["seconds"]
    assert two["value"] == 2 * one["value"]
    assert two["low"] == pytest.approx(2 * one["low"], rel=0.02)
    assert two["high"] == pytest.approx(2 * one["high"], rel=0.02)
    assert one["low"] == pytest.approx(30, rel=0.1)
    assert one["high"] == pytest.approx(120, rel=0.1)


def test_draws_have_the_interval_they_come_from():
    """90 % of the draws lie between its ends, half of them below its value, also where it is lopsided."""
    found = Uncertain(10, 8, 30).draws(np.random.default_rng(0))
    assert np.quantile(found, [0.05, 0.5, 0.95]) == pytest.approx([8, 10, 30], rel=0.08)


def test_the_lines_say_what_is_planned():
    """Stages, totals, actors and the source of each rate are in the text; without a price there is no money."""
    found = estimate([JUDGE, TRAIN], RATES, [1, 4], 0.0, 0) | {"notes": ["A note."]}
    text = "\n".join(estimate_lines(found | {"prices": {"actor_hour": 0.0, "currency": "USD"}}))
    assert "1 min 50 s" in text
    assert "4 actor(s) judging" in text
    assert "judge: 100 a second (by hand)" in text
    assert "USD" not in text
    priced = estimate([JUDGE], RATES, [1], 36.0, 0) | {"notes": []}
    assert "1.10 USD" in "\n".join(estimate_lines(priced | {"prices": {"actor_hour": 36.0, "currency": "USD"}}))
