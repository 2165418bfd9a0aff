"""Planned against actual of finished runs, as the table of docs/scale.md: tokens of the judge, and time of the stages.

    relabel plan RECIPE --out RUN && relabel run RECIPE --out RUN
    python -m benchmarks.planned RUN [RUN …]

The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from relabel.report.planned import compared
from relabel.report.run_files import read_run
from relabel.storage import Folder
from relabel.words import count, duration, value


def comparison(run: Folder) -> dict[str, float]:
    """Planned and actual sums over the stages of a run that were planned and have finished."""
    rows = compared(read_run(run))
    tokens = [row["tokens"] for row in rows if row["tokens"]]
    return {
        "stages": len(rows),
        "tokens_planned": sum(planned for planned, _ in tokens),
        "tokens": sum(actual for _, actual in tokens),
        "seconds_planned": sum(row["seconds"][0] for row in rows),
        "seconds_low": sum(row["interval"][0] for row in rows),
        "seconds_high": sum(row["interval"][1] for row in rows),
        "seconds": sum(row["seconds"][1] for row in rows),
    }


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """One line a run, as Markdown."""
    heads = ["run", "stages", "tokens planned", "actual", "ratio", "time planned", "between", "actual", "ratio"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name, one in found.items():
        between = f"{duration(one['seconds_low'])} to {duration(one['seconds_high'])}"
        tokens = [count(one["tokens_planned"]), count(one["tokens"]), value(one["tokens"] / one["tokens_planned"], 2)]
        seconds = [duration(one["seconds_planned"]), between, duration(one["seconds"])]
        ratio = value(one["seconds"] / one["seconds_planned"], 2)
        lines.append(f"| {' | '.join([name, count(one['stages']), *tokens, *seconds, ratio])} |")
    return lines


def main(runs: Sequence[str]) -> None:
    """Print table and JSON."""
    found = {uri.rstrip("/").rpartition("/")[2]: comparison(Folder(uri)) for uri in runs}
    print("\n".join(table(found)))
    print(json.dumps({"benchmark": "planned", "runs": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
