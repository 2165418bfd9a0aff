"""Planned against actual: what `relabel plan` expected of each stage, and what it took."""

from __future__ import annotations

from relabel.report.blocks import Block, Cell, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.words import count, duration, value

TITLE = "Planned and actual"


def section(run: Run) -> Section:
    if not run.estimate:
        return not_run("planned", TITLE, "plan")
    rows = compared(run)
    blocks: list[Block] = [
        Text(f"Planned {run.estimate['made']}, on a sample of {run.estimate['sample']} pairs a table.")
    ]
    if not rows:
        return Section("planned", TITLE, [*blocks, Text("No planned stage has finished yet.")])
    total = {kind: [sum(row[kind][at] for row in rows if row[kind]) for at in (0, 1)] for kind in ("seconds", "tokens")}
    low, high = (sum(row["interval"][at] for row in rows) for at in (0, 1))
    tokens = total["tokens"] if any(row["tokens"] for row in rows) else None
    rows.append({"stage": "in all", "seconds": total["seconds"], "interval": (low, high), "tokens": tokens})
    blocks.append(
        Table(
            "Stages that were planned and have finished",
            ["stage", "time planned", "between", "actual", "actual / planned", "tokens planned", "actual", "ratio"],
            [_row(**row) for row in rows],
        )
    )
    blocks.append(
        Text(
            "A ratio is marked where the actual time lies outside the planned interval. Starting the run itself (Ray, "
            "imports) is planned, but not timed as a stage."
        )
    )
    return Section("planned", TITLE, blocks)


def compared(run: Run) -> list[dict]:
    """The stages that were planned, not done before, and have finished: `seconds` and `tokens` as (planned, actual),
    the planned `interval` of the seconds; `tokens` None where a stage has none."""
    found = []
    for planned in run.estimate["stages"]:
        actual = run.stage(planned["stage"])
        if not actual.get("finished") or "done_seconds" in planned:
            continue
        tokens = (actual.get("detail") or {}).get("tokens")
        found.append(
            {
                "stage": planned["stage"],
                "seconds": (planned["seconds"]["value"], actual["seconds"]),
                "interval": (planned["seconds"]["low"], planned["seconds"]["high"]),
                "tokens": (planned["tokens"]["value"], tokens) if tokens and "tokens" in planned else None,
            }
        )
    return found


def _row(stage: str, seconds: tuple[float, float], interval: tuple[float, float], tokens) -> list[Cell | str]:
    planned, actual = seconds
    outside = not interval[0] <= actual <= interval[1]
    counted = [count(tokens[0]), count(tokens[1]), _ratio(*tokens)] if tokens else ["–", "–", "–"]
    between = f"{duration(interval[0])} to {duration(interval[1])}"
    ratio = Cell(_ratio(planned, actual), "bad" if outside else "")
    return [stage, duration(planned), between, duration(actual), ratio, *counted]


def _ratio(planned: float, actual: float) -> str:
    return value(actual / planned, 2) if planned else "–"
