"""A cluster of three raylets on one machine, the S3 server behind a fault proxy, the record of what each test found.

Every test bears `@pytest.mark.chaos(fault=…, injected=…)`. With RELABEL_CHAOS_RECORD set, each test adds a line to that
file (`tests.chaos.record`).
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from relabel.storage import Folder
from tests.chaos import record
from tests.chaos.fault_proxy import Faults, fault_proxy
from tests.chaos.scenes import Tally, judged, settings, write_table
from tests.chaos.workers import TroubledJudge
from tests.ray_head import CHANCES

#: A test's tally, and its reports so far.
_TALLY, _PHASES = pytest.StashKey(), pytest.StashKey()
#: Object store of a node, and what it offers besides.
STORE_BYTES = 200 << 20
NODE_CPUS, NODE_GPUS = 2, 2


@pytest.fixture(scope="session")
def faults(s3_environment):
    """The proxy's faults; the environment's endpoint is the proxy from here on."""
    found = Faults()
    with fault_proxy(s3_environment.endpoint, found) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        yield found


@pytest.fixture
def store(faults, s3):
    """A fresh S3 folder behind a proxy that breaks nothing until told, and does not after the test."""
    faults.quiet()
    yield Folder(s3)
    faults.quiet()


@pytest.fixture(scope="session")
def cluster(faults):
    """Three raylets: a head, and two with two made-up GPUs each; this process is a driver on it."""
    import ray

    from jobs.cluster import connect

    with pytest.MonkeyPatch.context() as patch:
        # Nothing is started ahead, and idle workers stay for the next test: each costs seconds of imports.
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        patch.setenv("RAY_num_workers_soft_limit", "8")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found = _three_raylets()
        patch.setenv("RAY_ADDRESS", found.address)
        connect()
        yield found
        ray.shutdown()
        found.shutdown()


def _three_raylets():
    """A cluster of three that answer; Ray gives a raylet 30 seconds to start in, which a busy machine may not have."""
    from ray.cluster_utils import Cluster

    for chance in range(1, CHANCES + 1):
        found = Cluster()
        try:
            found.add_node(num_cpus=NODE_CPUS, num_gpus=0, object_store_memory=STORE_BYTES, include_dashboard=False)
            add_node(found)
            add_node(found)
            return found
        except Exception as error:
            found.shutdown()
            if chance == CHANCES or "timed out during startup" not in str(error):
                raise


#: Raylets die with the thread that started them, so this one lives as long as the tests.
_starter = ThreadPoolExecutor(1)


def add_node(cluster):
    """A raylet more, ready for work; may be called from any thread."""

    def add():
        with mock.patch("signal.signal"):  # Ray sets handlers, which the main thread alone may
            return cluster.add_node(num_cpus=NODE_CPUS, num_gpus=NODE_GPUS, object_store_memory=STORE_BYTES)

    return _starter.submit(add).result()


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """The pairs that most tests judge."""
    from tests.conftest import pairs_of

    folder = Folder(tmp_path_factory.mktemp("chaos") / "pairs")
    write_table(folder, pairs_of)
    return folder


@pytest.fixture(scope="session")
def whole(cluster, pairs, tmp_path_factory):
    """What an undisturbed run with one actor makes of them."""
    out = Folder(tmp_path_factory.mktemp("chaos-whole") / "out")
    judged(settings(pairs, actors=1), out)
    return out


@pytest.fixture
def troubled(monkeypatch):
    """`troubled(pause=0.1, …)`: from now on the judge's workers are `TroubledJudge` with these troubles."""

    def trouble(**values) -> None:
        monkeypatch.setattr("jobs.judge.JudgeWorker", functools.partial(TroubledJudge, **values))

    return trouble


@pytest.fixture
def tally(request) -> Tally:
    """Where a test counts its rows; written to the record when it has ended."""
    request.node.stash[_TALLY] = found = Tally()
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds a test that has ended to the record: passed where setup, test and teardown did."""
    report = yield
    marker, path = item.get_closest_marker("chaos"), os.environ.get(record.VARIABLE)
    if marker and path:
        phases = item.stash.setdefault(_PHASES, {})
        phases[report.when] = report
        if report.when == "teardown" and not any(phase.skipped for phase in phases.values()):
            found = item.stash.get(_TALLY, Tally())
            ended = phases["call"].stop if "call" in phases else report.stop
            line = {
                "test": item.nodeid.split("tests/chaos/")[-1],
                **marker.kwargs,
                "passed": all(phase.passed for phase in phases.values()),
                "lost": found.lost,
                "doubled": found.doubled,
                "seconds": round(ended - phases["setup"].stop, 1),
            }
            record.add(Path(path), line)
    return report
