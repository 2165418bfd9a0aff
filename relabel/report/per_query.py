"""Per query: how much each re-ranker gains or loses against its reference, sorted, with the extreme queries named."""

from __future__ import annotations

from relabel.report.blocks import Block, Cell, Columns, Folded, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.words import signed, value

TITLE = "Change per query"
#: Queries named at each end.
EXTREMES = 5


def section(run: Run) -> Section:
    if not run.metrics:
        return not_run("per-query", TITLE, "evaluate")
    pairs = _pairs(run.metrics)
    if not pairs:
        return Section("per-query", TITLE, [Text("No re-ranker was measured: there is no change to show.")])
    return Section("per-query", TITLE, [block for pair in pairs for block in _change(run.metrics, *pair)])


def _pairs(found: dict) -> list[tuple[str, str]]:
    """Adjusted against original labels where both were measured; otherwise re-rankers against the last baseline."""
    trained = [system for system in found["systems"] if system["kind"] == "re-ranker"]
    original = [system["name"] for system in trained if system["rule"] == "keep"]
    if original and len(trained) > len(original):
        return [(system["name"], original[0]) for system in trained if system["rule"] != "keep"]
    baselines = [system["name"] for system in found["systems"] if system["kind"] != "re-ranker"]
    return [(system["name"], baselines[-1]) for system in trained] if baselines else []


def _change(found: dict, system: str, reference: str) -> list[Block]:
    columns, texts = found["per_query"]["values"], found["per_query"].get("queries") or found["per_query"]["query_ids"]
    now, before = columns[system][found["primary"]], columns[reference][found["primary"]]
    order = sorted(range(len(now)), key=lambda place: before[place] - now[place])
    differences = [now[place] - before[place] for place in order]
    largest = max(map(abs, differences), default=0.0)
    heights = [difference / largest if largest else 0.0 for difference in differences]
    up, down = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    ends = order if len(order) <= 2 * EXTREMES else order[:EXTREMES] + order[-EXTREMES:]
    rows = [
        [texts[place], value(before[place], 2), value(now[place], 2), _difference(now[place] - before[place])]
        for place in ends
    ]
    return [
        Columns(
            f"{system} against {reference}: {found['primary']} of each query, sorted; {up} better, "
            f"{len(order) - up - down} equal, {down} worse",
            heights,
            top=signed(largest, 2),
            bottom=signed(-largest, 2),
        ),
        Folded(
            f"{system} against {reference}: the queries that gain and lose most",
            [Table("Largest gains and losses", ["query", "before", "after", "change"], rows)],
        ),
    ]


def _difference(difference: float) -> Cell:
    return Cell(signed(difference, 2), "good" if difference > 0 else "bad" if difference < 0 else "muted")
