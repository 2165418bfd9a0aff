"""Starting Ray on this machine: a busy one gets the time that it takes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ray._private import services

from jobs import cluster

#: Prints the kinds of Ray's processes on this machine, has a worker print, and stays until its input ends.
START = """
import select
import sys
import ray
from jobs.cluster import connect
connect(lambda line: None)
from ray._private.worker import _global_node
print("kinds:", *sorted(_global_node.all_processes), flush=True)
ray.get(ray.remote(lambda: print("from a worker")).remote())
select.select([sys.stdin], [], [], 120)
"""


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


@pytest.mark.integration
@pytest.mark.parametrize("shown", [False, True])
def test_log_files_are_read_for_those_who_want_to_see_them(shown):
    """Without RELABEL_WORKER_LOGS=1 nobody reads what workers print, and no process is there to read it."""
    environment = os.environ | {"RELABEL_WORKER_LOGS": "1" if shown else "0"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", START], env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    lines: list[str] = []
    while shown and "from a worker" not in "".join(lines[-1:]):
        lines.append(process.stdout.readline())
        assert lines[-1], f"ended without what its worker printed: {lines}"
    lines += process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 0, lines
    (kinds,) = (line.split()[1:] for line in lines if line.startswith("kinds:"))
    assert "raylet" in kinds
    assert ("log_monitor" in kinds) is shown
    assert ("from a worker" in "".join(lines)) is shown
