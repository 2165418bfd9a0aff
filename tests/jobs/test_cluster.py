"""Starting Ray on this machine: a busy one gets the time that it takes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import ray
from ray._private import services

from jobs import cluster
from relabel.errors import RelabelError

STARTED_AGAIN = "ray: its node ended while it started, which happens on a busy machine; starting it again"

#: Kills as many of Ray's nodes as it is told, each while it starts. Prints the kinds of Ray's processes on this
#: machine, has a worker print, and stays until its input ends.
START = """
import select
import sys
import threading
import time
import psutil
import ray
from jobs.cluster import connect

def children(name):
    return [child for child in psutil.Process().children() if child.name() == name and child.status() != "zombie"]

def kill(nodes):
    for _ in range(nodes):
        while not (found := children("raylet")):
            time.sleep(0.01)
        found[0].kill()
        found[0].wait()

threading.Thread(target=kill, args=(int(sys.argv[1]),)).start()
connect(print)
from ray._private.worker import _global_node
print("kinds:", *sorted(_global_node.all_processes), "servers:", len(children("gcs_server")), flush=True)
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


def test_a_node_that_ends_each_time_is_told(monkeypatch):
    """The last words of the last one, and what to do; no more tries than promised."""
    tries: list[dict] = []

    def init(**options: object) -> None:
        tries.append(options)
        raise cluster._NodeEnded(f"Timed out waiting for file {len(tries)}")

    monkeypatch.setattr(ray, "init", init)
    log: list[str] = []
    said = "found a node that ended 4 times while it started, at last with Timed out waiting for file 4; wanted"
    with pytest.raises(RelabelError, match=said):
        cluster._start(2, log.append)
    assert len(tries) == cluster.START_TRIES == 4
    assert log == [STARTED_AGAIN] * 3


@pytest.mark.integration
@pytest.mark.parametrize(("shown", "ended"), [(False, 0), (True, 0), pytest.param(False, 1, marks=pytest.mark.long)])
def test_ray_starts_here(shown, ended):
    """Without RELABEL_WORKER_LOGS=1 nobody reads what workers print, and no process is there to read it; autoscaler and
    dashboard never are. Where Ray's node ends while it starts, another comes up, and nothing of the first is left."""
    environment = os.environ | {"RELABEL_WORKER_LOGS": "1" if shown else "0"}
    command = [sys.executable, "-c", START, str(ended)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    lines: list[str] = []
    while shown and "from a worker" not in "".join(lines[-1:]):
        lines.append(process.stdout.readline())
        assert lines[-1], f"ended without what its worker printed: {lines}"
    lines += process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 0, lines
    (kinds,) = (line.split()[1:] for line in lines if line.startswith("kinds:"))
    assert kinds == ["gcs_server", *["log_monitor"] * shown, "raylet", "servers:", "1"]
    assert ("from a worker" in "".join(lines)) is shown
    assert [line for line in lines if "starting it again" in line] == [STARTED_AGAIN] * ended, lines
