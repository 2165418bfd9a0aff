"""The capacity model: by hand for one judge, monotone where it must be, and the page's tables are those it renders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from relabel.planning import capacity
from relabel.planning.capacity import (
    JUDGES,
    Assumptions,
    gpu_hours,
    lost_share,
    main,
    pairs_a_second,
    shard_rows,
    tables,
)

PAGE = Path(__file__).parents[3] / "docs" / "scale.md"
GIVEN = Assumptions()


@pytest.mark.parametrize(("place", "measured"), [(0, 1994), (1, 647)])
def test_the_measured_judges_come_out_as_they_were_measured(place, measured):
    """The first rows' utilisation is that of the pairs a second that their basis names, within a percent."""
    assert pairs_a_second(JUDGES[place], GIVEN) == pytest.approx(measured, rel=0.01)
    assert f"{measured:,} pairs/s" in JUDGES[place].basis


def test_gpu_hours_by_hand():
    """A judge of 1 B parameters and 500 computed tokens at half of 1e15 FLOP/s does 500 pairs/s: 1.8 M an hour."""
    judge = replace(JUDGES[1], parameters=1e9, tokens=1000, shared=0.5, mfu=0.5)
    given = replace(GIVEN, peak=1e15, start=360, interruptions=0)
    assert pairs_a_second(judge, given) == pytest.approx(500)
    assert gpu_hours(judge, 18e6, 10, given) == pytest.approx(10 + 10 * 0.1)
    assert shard_rows(judge, replace(given, shard_seconds=60)) == 16_384


def test_interruptions_cost_a_shard_and_a_half_and_a_start():
    """One an hour, shards of 60 s and a start of 120 s: 210 s of each hour."""
    assert lost_share(replace(GIVEN, interruptions=1, shard_seconds=60, start=120)) == pytest.approx(210 / 3600)


def test_the_page_has_the_tables_that_the_command_renders():
    """docs/scale.md is what `python -m relabel.planning.capacity --write` makes of it."""
    page = PAGE.read_text("utf-8")
    assert capacity.written(page, list(tables(GIVEN))) == page
    assert "| 10 B | 7 B, rubric |" in page


def test_another_price_changes_the_money_and_nothing_else(capsys):
    """Options of the command reach the tables."""
    main(["--price", "5"])
    dear = capsys.readouterr().out.splitlines()
    cheap = list(tables(GIVEN))
    changed = [(one, other) for one, other in zip(cheap, dear, strict=True) if one != other]
    money = [
        (one.split("|")[4].strip(), other.split("|")[4].strip()) for one, other in changed if one.startswith("| 10")
    ]
    assert money
    assert all(float(b.replace(",", "")) == pytest.approx(2 * float(a.replace(",", "")), abs=1) for a, b in money)
