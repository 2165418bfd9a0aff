"""The table of docs/reliability.md from the record: `python -m tests.chaos.table`.

It replaces what stands between the two marks in that document, and nothing else.
"""

from __future__ import annotations

from typing import Any

from benchmarks.suite import placed
from tests.chaos.record import RECORD, ROOT, ROWS, summarised, tries

DOCUMENT = ROOT / "docs" / "reliability.md"
#: Passes in a row that are promised.
WANTED = 10
BEGIN, END = "<!-- table: python -m tests.chaos.table -->", "<!-- end of table -->"


def rendered(lines: list[dict[str, Any]]) -> str:
    """The record as a Markdown table, below a sentence with what it says as a whole."""
    tests = summarised(lines)
    always = sum(one["in_a_row"] >= WANTED for one in tests)
    text = [
        f"{always} of the {len(tests)} tests on record passed {WANTED} times in a row or more; all tries ran on "
        f"{' or '.join(map(str, sorted({one['cores'] for one in lines})))} cores. Seconds are medians.",
        "",
        "| fault | injected how | tried | passed | in a row | rows lost | rows doubled | seconds | when | on |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in tests:
        counts = ["not counted" if one[name] is None else one[name] for name in ROWS]
        when = one["first"] if one["first"] == one["last"] else f"{one['first']} to {one['last']}"
        codes = " to ".join(f"`{code}`" for code in dict.fromkeys(one["codes"][:1] + one["codes"][-1:]))
        cells = [one["fault"], one["injected"], one["tried"], one["passed"], one["in_a_row"], *counts]
        text.append(f"| {' | '.join(map(str, cells))} | {one['seconds']:.0f} | {when} | {codes} |")
    return "\n".join(text)


def main() -> None:
    DOCUMENT.write_text(placed(DOCUMENT.read_text("utf-8"), rendered(tries(RECORD)), BEGIN, END), "utf-8")


if __name__ == "__main__":
    main()
