"""Lines from the workers of a training to whoever started it."""

from __future__ import annotations

import pytest

from train.relay import Relay


@pytest.mark.integration
def test_lines_come_and_a_board_that_ended_costs_them_alone(ray_session):
    """What is posted is passed on at the latest when the block ends; a killed board is no error."""
    import ray

    lines: list[str] = []
    with Relay(lines.append) as relay:
        ray.get(relay.board.post.remote("first"))
    assert lines == ["first"]
    with Relay(lines.append) as relay:
        ray.kill(relay.board)
    assert lines == ["first"]
