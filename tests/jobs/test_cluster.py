"""Starting Ray on this machine: a busy one gets the time that it takes."""

from __future__ import annotations

import pytest
from ray._private import services

from jobs import cluster


class Clock:
    """Stands for `time` in `jobs.cluster`: it goes on by sleeping alone."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(cluster, "time", found)
    return found


@pytest.mark.parametrize(("up_after", "lines"), [(20, 0), (100, 1)])
def test_ray_is_asked_again_until_its_node_is_there(monkeypatch, clock, up_after, lines):
    """What Ray takes for the end of its patience is none here, and is said once; afterwards Ray is as it was."""

    def get_node(address: str) -> str:
        if clock.now < up_after:
            raise RuntimeError("no such node yet")
        return f"node of {address}"

    monkeypatch.setattr(services, "get_node", get_node)
    log: list[str] = []
    with cluster._patience(log.append):
        assert services.get_node("here") == "node of here"
    assert up_after <= clock.now < up_after + 1
    assert log == ["ray: still starting on this busy machine"] * lines
    assert services.get_node is get_node


def test_patience_ends(monkeypatch, clock):
    """A node that never comes up is Ray's error in the end."""

    def get_node() -> None:
        raise RuntimeError("no such node yet")

    monkeypatch.setattr(services, "get_node", get_node)
    with cluster._patience(lambda line: None), pytest.raises(RuntimeError, match="no such node yet"):
        services.get_node()
    assert cluster.START_SECONDS <= clock.now < cluster.START_SECONDS + 1
