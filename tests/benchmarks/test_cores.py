"""What two cores give of one: real steps on both, a few."""

import os

import pytest

from benchmarks import cores


@pytest.mark.integration
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_both_cores_together_are_compared_with_each_alone():
    """Two processes do steps alone and together; the ratio is of their rates."""
    result = cores.main(["--pairs", "1", "--tokens", "8", "--seconds", "0.3", "--repetitions", "1"])
    alone, together = (result["pairs_per_second"][name] for name in ("alone", "together"))
    assert len(alone) == len(together) == 2
    assert min(alone + together) > 0
    assert result["ratios"] == [pytest.approx(2 * sum(together) / sum(alone), rel=0.01)]
