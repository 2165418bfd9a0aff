"""The comparison with bare engines refuses what it could not end."""

from __future__ import annotations

import pytest

from benchmarks.judge_rate import main


@pytest.mark.parametrize(("pairs", "actors"), [(64, 2), (64, 3)])
def test_too_few_shards_for_the_actors_are_refused(pairs, actors):
    """All actors wait for a first shard, and one that is ready before the others may be given two."""
    wanted = f"2 shards are too few for {actors} actors: give more --pairs or less --shard-rows"
    with pytest.raises(SystemExit, match=wanted):
        main(["--pairs", str(pairs), "--shard-rows", "32", "--actors", str(actors), "--prompt", "terse-0-3"])
