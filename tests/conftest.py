"""What tests share: one Ray, one S3 server, the human judgements where they are, small tables; and what runs where.

`make test` runs in two processes, because starting Ray, workers and engines keeps one core busy with imports. Each has
its own Ray and S3 server. Tests of a module that starts such things stay together, and so do all with an engine of
vLLM: it binds both cores.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from relabel.records import PAIRS

#: Modules with an engine of vLLM; the longest of all groups, so it starts first.
ENGINE_MODULES = ("test_end_to_end", "test_kill_and_resume", "test_judge")


@pytest.hookimpl(tryfirst=True)  # the plugin reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group integration tests by what they share (see above), and put the longest groups first and unit tests last."""
    for item in items:
        if item.get_closest_marker("integration"):
            engine = item.path.parent.name in ("jobs", "tests") and item.path.stem in ENGINE_MODULES
            item.add_marker(pytest.mark.xdist_group("engine" if engine else item.path.stem))
    items.sort(key=lambda item: _turn(item.get_closest_marker("xdist_group")))


def _turn(group: pytest.Mark | None) -> int:
    if group is None:
        return 2
    return 0 if group.args[0] == "engine" else 1


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of human judgements beside this project, or where RELABEL_DATA points; skips where it is missing."""
    folder = Path(os.environ.get("RELABEL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip("no human judgements here: set RELABEL_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def ray_session(s3_environment):
    """One local Ray for the whole session, started as the jobs start it (after the S3 server, so actors know it)."""
    import ray

    from jobs.cluster import connect

    connect()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_environment():
    """A real S3 server on loopback; its address and keys are in the environment for the whole session."""
    from tests.s3_server import s3_server

    with s3_server() as server:
        before = {name: os.environ.get(name) for name in server.environment}
        os.environ.update(server.environment)
        yield server
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture
def s3(s3_environment, request) -> str:
    """A fresh `s3://bucket/prefix` for one test."""
    return f"s3://{s3_environment.bucket}/{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.fixture
def make_pairs():
    """Builds a small pairs table from (query_id, doc_id, query, text, label) rows; other columns are filled in."""

    def build(rows: list[tuple[str, str, str, str, float | None]], source: str = "given") -> pa.Table:
        names = ("query_id", "doc_id", "query", "text", "label")
        filled = [
            dict(zip(names, row, strict=True))
            | {"title": "", "label_source": source, "query_frequency": None}
            | {"first_stage_rank": None, "first_stage_score": None}
            for row in rows
        ]
        return pa.Table.from_pylist(filled, schema=PAIRS)

    return build
