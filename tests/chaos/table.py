"""The table of docs/reliability.md from the record: `python -m tests.chaos.table [RECORD]`.

It replaces what stands between the two marks in that document, and nothing else.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
#: Passes in a row that are promised.
WANTED = 10
BEGIN, END = "<!-- table: python -m tests.chaos.table -->", "<!-- end of table -->"


def rendered(record: dict) -> str:
    """The record as a Markdown table with what it was made by."""
    faults = record["faults"]
    always = sum(one["tried"] == one["passed"] >= WANTED for one in faults)
    commands = sorted({one["command"].strip() for one in faults})
    lines = [
        f"{always} of the {len(faults)} tests on record passed {WANTED} times in a row or more. Made by "
        f"{_listed(commands)}, on {_listed(sorted({str(one['machine']['cores']) for one in faults}))} cores.",
        "",
        "| fault | injected how | tried | passed | rows lost | rows doubled | seconds (median) | when |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in faults:
        counts = [one["lost"], one["doubled"]] if not one["uncounted"] else ["not counted", "not counted"]
        cells = [one["fault"], one["injected"], one["tried"], one["passed"], *counts]
        lines.append(f"| {' | '.join(map(str, cells))} | {statistics.median(one['seconds']):.0f} | {one['at'][:10]} |")
    return "\n".join(lines)


def _listed(values: list[str]) -> str:
    return ", ".join(f"`{value}`" if " " in value else value for value in values)


def main() -> None:
    record = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "reliability.json").read_text())
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{rendered(record)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
