"""Grade distributions: original labels, the judge's grades, and the labels of each rule."""

from __future__ import annotations

from relabel.report.blocks import Bar, Bars, Block, Section, not_run
from relabel.report.run_files import Run
from relabel.words import count, share

TITLE = "Grades before and after"


def section(run: Run) -> Section:
    if not run.changed:
        return not_run("grades", TITLE, "adjust")
    first = run.changed[0].change
    by_label = {_label(entry["label"]): entry["rows"] for entry in first["by_original_label"]}
    judged: dict[str, int] = {}
    for entry in first["by_original_label"]:
        for grade, rows in entry["judge_grades"].items():
            judged[grade] = judged.get(grade, 0) + rows
    blocks: list[Block] = [
        Bars("Original labels, on their own scale", _bars(by_label)),
        Bars("The judge's most probable grades, on the prompt's scale", _bars(judged, "second")),
    ]
    for labels in (labels for labels in run.changed if labels.change["changed"]):
        table = labels.change["transitions"]
        after = dict(zip(table["after"], map(sum, zip(*table["rows"], strict=True)), strict=True))
        blocks.append(Bars(f"Labels after the rule {labels.rule}, as relevance degree", _bars(after)))
    return Section("grades", TITLE, blocks)


def _bars(rows: dict[str, int], tone: str = "") -> list[Bar]:
    total = max(sum(rows.values()), 1)
    return [
        Bar(name, number / total, f"{count(number)} ({share(number / total)})", tone)
        for name, number in rows.items()
        if number or name not in ("unlabelled", "unjudged", "weight 0")
    ]


def _label(label: float | None) -> str:
    return "unlabelled" if label is None else f"{label:g}"
