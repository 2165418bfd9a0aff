"""Precision that the rules promised for the labels that they change, and what it is on the test's human grades."""

from __future__ import annotations

from relabel.report.blocks import Block, Bullets, Cell, Heading, Section, Table, Text
from relabel.report.run_files import Run
from relabel.words import count, interval, share, value

TITLE = "Promised precision of changed labels"


def section(run: Run) -> Section:
    if not run.promises:
        return Section("promises", TITLE, [Text("No rule promised a precision; the rule at-precision does.")])
    blocks: list[Block] = []
    for name, promise in run.promises.items():
        blocks += [Heading(name), Bullets(promise["sentences"])]
        if promise["achieved"]:
            blocks.append(_table(name, promise))
        blocks.append(Text(_learned_on(promise)))
    return Section("promises", TITLE, blocks)


def _table(name: str, promise: dict) -> Table:
    rows = []
    for direction, entry in promise["achieved"].items():
        kept = {True: Cell("holds", "good"), False: Cell("broken", "bad"), None: Cell("nothing to test", "muted")}
        rows.append(
            [direction, value(promise["directions"][direction]["threshold"], 3), value(promise["target"], 2),
             interval(entry["precision"]), "–" if entry["pooled"] is None else value(entry["pooled"]),
             count(entry["queries"]), count(entry["pairs"]), kept[entry["kept"]]]
        )  # fmt: skip
    return Table(
        f"{name}: promised against achieved on the test's human grades; it holds where the interval reaches it",
        ["direction", "threshold", "promised", "achieved", "right of all pairs", "queries", "pairs", "promise"],
        rows,
    )


def _learned_on(promise: dict) -> str:
    unit = (
        "The mean over queries of the precision inside a query is promised, by betting on queries"
        if promise["unit"] == "query"
        else "The share of right pairs is promised, by Clopper and Pearson's bound for pairs that were drawn one by one"
    )
    return (
        f"{unit}, and may be broken in {share(promise['delta'])} of the draws of human grades. "
        f"{count(promise['pairs'])} pairs: {count(promise['queries_ordering'])} queries chose the order of thresholds, "
        f"{count(promise['queries_tested'])} others tested them. It is made for pairs like those that people graded."
    )
