"""Funnel: how many pairs went in, were quarantined, judged, changed, and are left to train on."""

from __future__ import annotations

from relabel.report.blocks import Bar, Bars, Block, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.words import count, flat, share

TITLE = "Funnel of pairs"


def section(run: Run) -> Section:
    if not run.pairs:
        return not_run("funnel", TITLE, "prepare")
    start = max(run.pairs.rows_in, 1)

    def bar(label: str, rows: int, tone: str = "") -> Bar:
        return Bar(label, rows / start, f"{count(rows)} ({share(rows / start)})", tone)

    bars = [bar("read", run.pairs.rows_in), bar("prepared", run.pairs.rows)]
    for name, manifest in run.judgements.items():
        bars.append(bar(f"judged by {manifest.about.get('engine') or name}", manifest.rows))
    for labels in run.changed:
        if labels.change["changed"]:
            bars.append(bar(f"changed by {labels.rule}", labels.change["changed"], "second"))
        bars.append(bar(f"trainable after {labels.rule}", _trainable(labels.change)))
    blocks: list[Block] = [Bars("Pairs at each step, as a share of the pairs read", bars)]
    left_out = flat((run.pairs.about.get("funnel") or {}).get("left_out") or {})
    names = [[name.replace("_", " "), count(int(number))] for name, number in left_out if number != "0"]
    if names:
        blocks.append(Table("Left out of the pairs by the recipe", ["what", "number"], names))
    rows = [
        [name, reason, count(rows)]
        for name, reasons in _reasons(run).items()
        for reason, rows in sorted(reasons.items(), key=lambda entry: -entry[1])
    ]
    if rows:
        blocks.append(Table("Quarantined rows, kept whole with their reason", ["table", "reason", "rows"], rows, 2))
    else:
        blocks.append(Text("No row was quarantined."))
    return Section("funnel", TITLE, blocks)


def _trainable(change: dict) -> int:
    """Rows that keep a label and a weight."""
    table = change["transitions"]
    lost = [table["after"].index(name) for name in ("unlabelled", "weight 0") if name in table["after"]]
    return sum(rows for line in table["rows"] for place, rows in enumerate(line) if place not in lost)


def _reasons(run: Run) -> dict[str, dict[str, int]]:
    found = {name: dict(reasons) for name, reasons in run.quarantined.items()}
    for name, manifest in run.judgements.items():
        found[f"judge {name}"] = manifest.about.get("quarantined_by_reason") or {}
    return found
