"""All faults, several times in a row: `python -m tests.chaos.run --times 10 --out docs/reliability.json`.

Each pass is a pytest process of its own with a new cluster. The record counts, for each fault, how often it was tried
and passed, and the rows lost and doubled over all tries; `python -m tests.chaos.table` renders it. A pass that fails
does not end the others; the exit code is 1 then. The record is written after each pass. A test's line stays until there
is one of as many tries, or one that failed; lines of tests that a run did not try stay in any case.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from relabel import __version__
from relabel.hardware import cores

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--out", default="docs/reliability.json")
    parser.add_argument("tests", nargs="*", default=[], help="modules or tests below tests/chaos; default: all")
    options = parser.parse_args()
    chosen = options.tests or ["tests/chaos"]
    named = f"make chaos TIMES={options.times}"
    if options.tests:
        named = f"python -m tests.chaos.run --times {options.times} {' '.join(options.tests)}"
    out = ROOT / options.out
    kept = json.loads(out.read_text())["faults"] if out.exists() else []
    lines, failed = [], 0
    for time in range(options.times):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "lines"
            command = [sys.executable, "-m", "pytest", "--chaos", "-p", "no:cacheprovider", *chosen]
            code = subprocess.run(command, cwd=ROOT, env=os.environ | {"RELABEL_CHAOS_LOG": str(log)}).returncode
            found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        lines += found
        failed += code != 0
        passed = sum(line["passed"] for line in found)
        print(f"pass {time + 1} of {options.times}: {passed} of {len(found)} passed", flush=True)
        faults = merged(kept, summarised(lines, named))
        out.write_text(json.dumps({"faults": faults}, indent=2, ensure_ascii=False) + "\n")
    return int(failed > 0)


def summarised(lines: list[dict], command: str) -> list[dict]:
    """One entry a test: what was injected, times tried and passed, rows lost and doubled, seconds of a try, and how,
    when and where it ran."""
    ran = {
        "command": command,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "relabel": __version__,
        "machine": {"cores": cores(), "system": platform.platform(), "python": platform.python_version()},
    }
    entries: dict[str, dict] = {}
    for line in lines:
        entry = entries.setdefault(
            line["test"],
            {"test": line["test"], "fault": line["fault"], "injected": line["injected"], "tried": 0, "passed": 0}
            | {"lost": 0, "doubled": 0, "uncounted": 0, "seconds": []}
            | ran,
        )
        entry["tried"] += 1
        entry["passed"] += line["passed"]
        for name in ("lost", "doubled"):
            entry[name] += line[name] or 0
        entry["uncounted"] += line["lost"] is None
        entry["seconds"].append(line["seconds"])
    return list(entries.values())


def merged(kept: list[dict], made: list[dict]) -> list[dict]:
    """By test, the entry that was made; the kept one where none was, or one of fewer tries that all passed."""
    entries = {entry["test"]: entry for entry in kept}
    for entry in made:
        old = entries.get(entry["test"], entry)
        if entry["tried"] >= old["tried"] or entry["passed"] < entry["tried"]:
            entries[entry["test"]] = entry
    return [entries[test] for test in sorted(entries)]


if __name__ == "__main__":
    sys.exit(main())
