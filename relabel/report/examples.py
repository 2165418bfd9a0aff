"""Examples: the changes that the judge was surest of, with query and document, for a reader to agree or not."""

from __future__ import annotations

from relabel.report.blocks import Block, Example, Folded, Section, Text, not_run
from relabel.report.run_files import Labels, Run
from relabel.words import share, value

TITLE = "The surest changes"
#: Examples of a kind that are shown, and characters of a document.
SHOWN, CLIP = 3, 320


def section(run: Run) -> Section:
    if not run.changed:
        return not_run("examples", TITLE, "adjust")
    blocks = [block for labels in run.changed for block in _rule(labels)]
    return Section("examples", TITLE, blocks or [Text("No label was changed.")])


def _rule(labels: Labels) -> list[Block]:
    blocks: list[Block] = []
    for kind, entries in labels.change["examples"].items():
        if entries:
            shown = [_example(entry) for entry in entries[:SHOWN]]
            blocks.append(Folded(f"{labels.rule}: {kind}, the {len(shown)} surest", shown, opened=not blocks))
    return blocks


def _example(entry: dict) -> Example:
    text = entry["text"] if len(entry["text"]) <= CLIP else entry["text"][: CLIP - 1] + "…"
    original = "no label" if entry["original_label"] is None else f"label {entry['original_label']:g}"
    probabilities = ", ".join(value(probability, 2) for probability in entry["judge_probabilities"])
    before, after = _degree(entry["degree_before"]), _degree(entry["degree_after"])
    return Example(
        head=f"{before} → {after}, judge {share(entry['sureness'])} sure",
        query=entry["query"],
        title=entry["title"],
        text=text,
        facts=[
            f"original: {original} ({entry['original_source']})",
            f"judge: grade {entry['judge_grade']}, probabilities {probabilities}",
            f"{entry['action']}, weight {entry['weight']:g}",
            f"query {entry['query_id']}, document {entry['doc_id']}",
        ],
    )


def _degree(degree: float | None) -> str:
    return "unlabelled" if degree is None else f"degree {value(degree, 2)}"
