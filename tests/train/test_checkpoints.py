"""What the state of a training tells."""

from __future__ import annotations

import pytest

from train.checkpoints import State


@pytest.mark.parametrize(
    ("best", "steps", "stale"),
    [
        (None, [0, 10, 20, 30], False),
        (30, [0, 10, 20, 30], False),
        (20, [0, 10, 20, 30], False),
        (10, [0, 10, 20, 30], True),
    ],
    ids=["no best step yet", "the last is the best", "one since", "two since"],
)
def test_patience_counts_validations_since_the_best_step(best, steps, stale):
    """With a patience of two, two validations after the best step end a training; without one nothing does."""
    state = State(step=30, best_step=best, validations=[{"step": step, "nDCG@10": 0.5} for step in steps])
    assert state.stale(2) is stale
    assert not state.stale(None)
