"""The short table that a run ends with: systems on the test judgements, the judge in plain words, what it took."""

from __future__ import annotations

from relabel.agreement.gate import GATE, gate_lines
from relabel.agreement.measure_judge import AGREEMENT
from relabel.evidence.evaluate import METRICS
from relabel.storage import Folder
from relabel.words import count, interval, share, signed, value


def print_summary(folder: Folder) -> None:
    """Print the metric table, the judge's verdict, the warnings and the seconds of each stage of a run."""
    evidence = folder / "evidence"
    if evidence.exists(AGREEMENT):
        print("\nThe judge")
        for sentence in evidence.read_json(AGREEMENT)["verdict"]:
            print(f"  {sentence}")
    if evidence.exists(GATE):
        print("\n".join(f"  {line}" for line in gate_lines(evidence.read_json(GATE))))
    if evidence.exists(METRICS):
        print("\nOn the test judgements")
        print(metric_table(evidence.read_json(METRICS)))
    if folder.exists("run.json"):
        stages = folder.read_json("run.json")["stages"]
        print(f"\n{len(stages)} stages, {sum(stage['seconds'] for stage in stages):,.0f} s")


def metric_table(metrics: dict) -> str:
    """Systems by measures with their intervals, and under it what must be known before believing them."""
    measures = [name for name in metrics["measures"] if not name.endswith("judged only")]
    header = ["system", *measures]
    rows = [header]
    for system, values in metrics["values"].items():
        rows.append([system, *(interval(values[measure]) for measure in measures)])
    notes = [f"  {line}" for line in [*metrics["findings"], *metrics["warnings"]]]
    return "\n".join(
        [*_aligned(rows), f"  {metrics['queries']} queries, {metrics['confidence']:.0%} intervals", *notes]
    )


def movement_table(found: dict) -> str:
    """Perturbations by how far they move a judge's grades, and in words what that means."""
    rows = [["perturbation", "expected", "pairs", "movement", "|movement|", "irrelevant moved", "crossed up",
             "relevant moved", "crossed down", "success", "cut"]]  # fmt: skip
    for entry in found["perturbations"]:
        everywhere, irrelevant, relevant = entry["all"], entry["irrelevant"], entry["relevant"]
        rows.append([
            entry["name"], entry["expectation"], count(everywhere["pairs"]), interval(everywhere["movement"], 2, True),
            value(everywhere["absolute_movement"]["value"], 2), signed(irrelevant["movement"]["value"], 2),
            share(irrelevant["crossed_up"]["value"]), signed(relevant["movement"]["value"], 2),
            share(relevant["crossed_down"]["value"]), share(everywhere.get("success", {}).get("value")),
            share(entry["truncated"]),
        ])  # fmt: skip
    return "\n".join([*_aligned(rows), *(f"  {sentence}" for sentence in found["verdict"])])


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
