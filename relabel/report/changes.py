"""Changes of each rule: transition matrix, share changed by original label, and how they spread over queries."""

from __future__ import annotations

from relabel.report.blocks import Bar, Bars, Block, Cell, Folded, Heading, Section, Table, Text, not_run
from relabel.report.run_files import Labels, Run
from relabel.words import count, plural, share

TITLE = "What each rule changed"
#: Queries that are named.
SHOWN = 10


def section(run: Run) -> Section:
    if not run.changed:
        return not_run("changes", TITLE, "adjust")
    return Section("changes", TITLE, [block for labels in run.changed for block in _rule(labels)])


def _rule(labels: Labels) -> list[Block]:
    change = labels.change
    actions = ", ".join(f"{action} {count(rows)}" for action, rows in change["actions"].items())
    blocks: list[Block] = [
        Heading(labels.rule),
        Text(
            f"{plural(change['changed'], 'label')} of {count(change['rows'])} changed "
            f"({share(change['share_changed'])}); {count(change['became_relevant'])} became relevant, "
            f"{count(change['ceased_to_be_relevant'])} ceased to be. Actions: {actions}."
        ),
    ]
    if not change["changed"]:
        return blocks
    queries = change["by_query"]
    most = max(max(queries["histogram"]), 1)
    spread = [
        Bar(name, rows / most, plural(rows, "query", "queries"))
        for name, rows in zip(queries["share_changed"], queries["histogram"], strict=True)
        if rows
    ]
    return [
        *blocks,
        _matrix(change["transitions"]),
        Table(
            "Share changed by original label",
            ["original label", "rows", "changed", "share", "became relevant", "ceased", "weight 0"],
            [_by_label(entry) for entry in change["by_original_label"] if entry["rows"]],
        ),
        Folded(
            f"{labels.rule}: by query",
            [
                Bars("Queries by the share of their labels that changed", spread),
                Table(
                    "The most changed queries",
                    ["query", "rows", "changed", "share"],
                    [
                        [entry["query"], count(entry["rows"]), count(entry["changed"]), share(entry["share_changed"])]
                        for entry in queries["most_changed"][:SHOWN]
                    ],
                ),
            ],
        ),
    ]


def _matrix(transitions: dict) -> Table:
    after = [
        name
        for place, name in enumerate(transitions["after"])
        if any(line[place] for line in transitions["rows"]) or name in transitions["before"][:-1]
    ]
    places = [transitions["after"].index(name) for name in after]
    rows = []
    for before, line in zip(transitions["before"], transitions["rows"], strict=True):
        total = sum(line)
        if total:
            rows.append([before, *(Cell(count(line[place]), heat=line[place] / total) for place in places)])
    return Table(
        "Rows by relevance degree before (down) and after (across); shade is the share of the line",
        ["before \\ after", *after],
        rows,
    )


def _by_label(entry: dict) -> list[str]:
    label = "unlabelled" if entry["label"] is None else f"{entry['label']:g}"
    numbers = [entry["became_relevant"], entry["ceased_to_be_relevant"], entry["weight_zeroed"]]
    return [label, count(entry["rows"]), count(entry["changed"]), share(entry["share_changed"]), *map(count, numbers)]
