"""What tests share: one Ray, one S3 server, the human judgements where they are, small tables; and what runs where.

`make test` runs in two processes, because starting Ray, workers and engines keeps one core busy with imports. Each has
its own Ray and S3 server, and takes whole modules.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from relabel.records import PAIRS

#: Modules that take minutes, in the order in which they are handed out. A process gets its next module when two tests
#: are left of what it has: the first two start at once, and the third follows the second, which is a single test.
FIRST = (
    "test_training_runs",
    "test_end_to_end",
    "test_kill_and_resume",
    "test_run",
    "test_judge",
    "test_generate_queries",
    "test_families_by_vllm",
    "test_gated_run",
    "test_interrupt",
    "test_robustness",
)


#: Markers of tests that `make test` leaves out, each with the option that runs those alone, and what they are.
TIERS = {"chaos": "that inject faults", "long": "that take minutes to show what others show in parts"}


def pytest_addoption(parser: pytest.Parser) -> None:
    for tier, what in TIERS.items():
        parser.addoption(f"--{tier}", action="store_true", help=f"run the tests {what}, and no others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tiers to who asks for them; put the modules that take minutes first, so that none is left at the end."""
    wanted = {tier for tier in TIERS if config.getoption(f"--{tier}")}
    kept, others = [], []
    for item in items:
        tiers = {tier for tier in TIERS if item.get_closest_marker(tier)}
        (kept if (tiers & wanted if wanted else not tiers) else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = kept
    items.sort(key=lambda item: FIRST.index(item.path.stem) if _takes_minutes(item) else len(FIRST))


def _takes_minutes(item: pytest.Item) -> bool:
    return item.path.stem in FIRST and item.get_closest_marker("integration") is not None


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

    return pairs_of


def pairs_of(rows: list[tuple[str, str, str, str, float | None]], source: str = "given") -> pa.Table:
    """See `make_pairs`."""
    names = ("query_id", "doc_id", "query", "text", "label")
    filled = [
        dict(zip(names, row, strict=True))
        | {"title": "", "label_source": source, "query_frequency": None}
        | {"first_stage_rank": None, "first_stage_score": None}
        for row in rows
    ]
    return pa.Table.from_pylist(filled, schema=PAIRS)
