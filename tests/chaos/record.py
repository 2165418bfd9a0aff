"""The record of the chaos tests, docs/reliability.jsonl: one line a try, which nobody changes afterwards.

A try that failed stays on record, and so do those of earlier code; what counts is how often a test has passed in a row
since, and on which code. A try that was broken off has no line.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relabel.hardware import cores

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "reliability.jsonl"
#: Names the file to which tests add their lines; without it they add none.
VARIABLE = "RELABEL_CHAOS_RECORD"
#: What the tests are about: a try belongs to the last commit that changed any of it.
CODE = (
    "relabel",
    "jobs",
    "train",
    "tests/chaos",
    "tests/jobs/stage_runs.py",
    "tests/ray_head.py",
    "tests/s3_server.py",
)
#: What is counted in each try.
ROWS = ("lost", "doubled")


def add(path: Path, line: dict[str, Any]) -> None:
    """Add a try, with when, where and on which code it ran."""
    about = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "code": code(), "cores": cores()}
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line | about, ensure_ascii=False) + "\n")


def tries(path: Path) -> list[dict[str, Any]]:
    """All lines, in order; none where there is no record."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def code() -> str | None:
    """The last commit that changed the code under test, with `+` where something is not committed; None without git."""
    try:
        commit = _git("log", "-1", "--format=%h", "--", *CODE)
        return commit + "+" * bool(_git("status", "--porcelain", "--", *CODE))
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def summarised(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a test, in the order of their names: `tried`, `passed`, `in_a_row` (passes since it failed last), rows
    `lost` and `doubled` over all tries that counted them (None where none did), median `seconds`, the `codes` that the
    passes in a row ran on, dates of the `first` and the `last` try, and the last one's `fault` and `injected`."""
    by_test: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_test.setdefault(line["test"], []).append(line)
    return [_summary(by_test[test]) for test in sorted(by_test)]


def _summary(tries: list[dict[str, Any]]) -> dict[str, Any]:
    passed = [one["passed"] for one in tries]
    in_a_row = [*reversed(passed), False].index(False)
    counted = {name: [one[name] for one in tries if one[name] is not None] for name in ROWS}
    return {
        **{name: tries[-1][name] for name in ("test", "fault", "injected")},
        "tried": len(tries),
        "passed": sum(passed),
        "in_a_row": in_a_row,
        **{name: sum(rows) if rows else None for name, rows in counted.items()},
        "seconds": statistics.median(one["seconds"] for one in tries),
        "codes": list(dict.fromkeys(one["code"] for one in tries[len(tries) - in_a_row :])),
        "first": tries[0]["at"][:10],
        "last": tries[-1]["at"][:10],
    }
