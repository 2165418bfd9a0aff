"""Provenance: judge ids, seeds, versions, hardware, recipe; enough to run it again."""

from __future__ import annotations

from relabel.report.blocks import Block, Folded, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.words import flat

TITLE = "Provenance"


def section(run: Run) -> Section:
    facts = [(name, run.record[name]) for name in ("name", "started", "finished", "seed") if run.record.get(name)]
    for name, manifest in run.judgements.items():
        facts += flat({key: manifest.about.get(key) for key in ("judge_id", "engine", "model", "prompt")}, name[:24])
    if run.metrics and run.metrics.get("lineage"):
        facts += [
            (f"queries seen by {entry['folder']}", _overlap(entry)) for entry in run.metrics["lineage"]["checked"]
        ]
    facts += flat(run.record.get("hardware") or {}, "hardware")
    blocks: list[Block] = []
    if facts:
        blocks.append(Table("Facts", ["what", "value"], [[name, str(fact)] for name, fact in facts], words=True))
    for name in ("versions", "recipe"):
        rows = [list(row) for row in flat(run.record.get(name) or {})]
        if rows:
            blocks.append(Folded(name.capitalize(), [Table(name.capitalize(), ["what", "value"], rows, words=True)]))
    if not blocks:
        return not_run("provenance", TITLE, "run.json")
    return Section("provenance", TITLE, [*blocks, Text("The page was built from the files of the run folder alone.")])


def _overlap(entry: dict) -> str:
    if entry["queries_seen"] is None:
        return "unknown: the folder carries no list"
    return f"{entry['queries_seen']:,}, {entry['overlap']} of them in the test set"
