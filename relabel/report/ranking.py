"""Rankings on human judgements: values with intervals, and the paired tests behind every claim."""

from __future__ import annotations

from relabel.evidence.findings import primary_tests, probability
from relabel.evidence.metrics import JUDGED_ONLY
from relabel.report.blocks import Block, Cell, Dot, Dots, Folded, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.words import count, interval, plural, share, signed, value

TITLE = "Rankings on held-out judgements"


def section(run: Run) -> Section:
    if not run.metrics:
        return not_run("ranking", TITLE, "evaluate")
    found = run.metrics
    blocks: list[Block] = [Text(_pool(found)), _dots(found)]
    everything = [measure for measure in found["measures"] if not measure.endswith(JUDGED_ONLY)]
    blocks.append(_values(found, everything, "Means over queries with intervals; the highest of a column is marked"))
    blocks.append(_tests(found))
    judged = [measure for measure in found["measures"] if measure.endswith(JUDGED_ONLY)]
    if judged:
        table = _values(found, judged, "Means with unjudged documents left out of the rankings")
        blocks.append(Folded("Measured on judged documents alone", [table]))
    if found.get("prediction_powered"):
        blocks += _powered(found["prediction_powered"])
    others = [test for test in found["tests"] if test["measure"] != found["primary"]]
    if others:
        blocks.append(Folded("Tests of the other measures", [_test_table("Other measures", others, True)]))
    blocks.append(
        Folded(
            "How the measures are defined",
            [Table("Measures", ["measure", "meaning"], list(map(list, found["measures"].items())), words=True)],
        )
    )
    return Section("ranking", TITLE, blocks)


def _pool(found: dict) -> str:
    judged = found["pairs_judged"] / max(found["pairs"], 1)
    sources = found.get("test_table", {}).get("sources", {})
    graders = " and ".join("people" if source == "human" else source for source in sources) or "people"
    return (
        f"{plural(found['queries'], 'query', 'queries')}, {count(found['pairs'])} candidates, {share(judged)} of them "
        f"judged by {graders}, {count(found['pairs_relevant'])} relevant. Intervals: {found['interval']}, "
        f"{share(found['confidence'])}. Tests: {found['test']}."
    )


def _dots(found: dict) -> Dots:
    values = {system["name"]: found["values"][system["name"]][found["primary"]] for system in found["systems"]}
    lows = [entry["value"] if entry["low"] is None else entry["low"] for entry in values.values()]
    highs = [entry["value"] if entry["high"] is None else entry["high"] for entry in values.values()]
    start, end = max(0.0, min(lows) - 0.03), min(1.0, max(highs) + 0.03)

    def place(number: float | None) -> float | None:
        return None if number is None else (number - start) / (end - start)

    trained = {system["name"] for system in found["systems"] if system["kind"] == "re-ranker"}
    dots = [
        Dot(name, place(entry["value"]), place(entry["low"]), place(entry["high"]), interval(entry),
            "" if name in trained else "second")
        for name, entry in values.items()
    ]  # fmt: skip
    return Dots(f"{found['primary']} of each system", dots, value(start, 2), value(end, 2))


def _values(found: dict, measures: list[str], caption: str) -> Table:
    names = [system["name"] for system in found["systems"]]
    reached = {measure: {found["values"][name][measure]["value"] for name in names} for measure in measures}
    best = {measure: max(values) for measure, values in reached.items() if len(values) > 1}
    rows = []
    for name in names:
        columns = found["values"][name]
        cells = [
            Cell(interval(columns[measure]), "good" if columns[measure]["value"] == best.get(measure) else "")
            for measure in measures
        ]
        rows.append([name, *cells])
    return Table(caption, ["system", *measures], rows)


def _powered(powered: dict) -> list[Block]:
    """Means over graded and ungraded queries, and differences of systems, with and without the judge's help."""
    first = next(iter(powered["values"].values()))
    left_out = [f"{count(number)} {why}" for why, number in powered["queries_left_out"].items() if number]
    text = (
        f"People graded {plural(first['human_queries'], 'query', 'queries')}, the judge another "
        f"{count(first['judged_queries'])}: its nDCG corrects the mean of the graded ones by as much as it agrees with "
        f"people there (weight λ; prediction-powered intervals). It holds where {powered['assumes']}."
    )
    if left_out:
        text += f" Queries left out: {', '.join(left_out)}."
    rows = [[name, *_powered_cells(one)] for name, one in powered["values"].items()]
    rows += [
        [f"{one['system']} − {one['reference']}", *_powered_cells(one, sign=True)] for one in powered["differences"]
    ]
    columns = ["", "with the judge's help", "graded queries alone", "λ"]
    return [Text(text), Table(f"{powered['measure']} over graded and ungraded queries", columns, rows)]


def _powered_cells(one: dict, sign: bool = False) -> list[str]:
    return [interval(one["value"], sign=sign), interval(one["human_only"], sign=sign), value(one["tuning"], 2)]


def _tests(found: dict) -> Table | Text:
    tests = primary_tests(found)
    if not tests:
        return Text("One system alone: nothing to test.")
    return _test_table(
        f"{found['primary']}: paired differences and p-values corrected for {plural(len(tests), 'test')}", tests
    )


def _test_table(caption: str, tests: list[dict], with_measure: bool = False) -> Table:
    rows = []
    for test in tests:
        difference = test["difference"]
        tone = ("good" if difference["value"] > 0 else "bad") if test["significant"] else "muted"
        cells = [
            Cell(interval(difference, sign=True), tone),
            signed(test["standardised_difference"], 2),
            f"{test['better']} / {test['equal']} / {test['worse']}",
            _p(test["p"]),
            Cell(_p(test["p_holm"]), tone),
            Cell("significant" if test["significant"] else "not significant", tone),
        ]
        rows.append([*([test["measure"]] if with_measure else []), f"{test['system']} − {test['reference']}", *cells])
    columns = ["difference", "effect d", "queries better / equal / worse", "p", "p corrected", "verdict"]
    return Table(caption, [*(["measure"] if with_measure else []), "systems", *columns], rows, 2 if with_measure else 1)


def _p(p: float) -> str:
    return probability(p).removeprefix("= ")
