"""What `agree.json` says as tables of text: judges side by side, differences and tests, order of systems.

Pure functions from the dictionary of `agree` to (caption, header, rows); the command prints them and the report shows
them. Invariant: a value that cannot be compared is a dash, never a number of another kind.
"""

from __future__ import annotations

from typing import NamedTuple

from relabel.agreement.verdict import number, percent, with_interval

NOTHING = "–"


class TextTable(NamedTuple):
    """A table of text; every row has as many cells as the header."""

    caption: str
    header: list[str]
    rows: list[list[str]]

    def lines(self) -> list[str]:
        """The table in columns of equal width."""
        rows = [self.header, *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.header))]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def all_tables(found: dict) -> list[TextTable]:
    """Every table that `found` has something for."""
    tables = [grade_table(found), relevance_table(found)]
    if found["comparisons"]:
        tables.append(difference_table(found))
    if found["systems"]["judges"]:
        tables.append(system_table(found))
    return tables


def grade_table(found: dict) -> TextTable:
    """Grade by grade; the majority's answer beside the judges."""
    header = ["judge", "pairs", "same grade", "κ", "quadratic κ", "α ordinal", "mean error"]
    rows = []
    for judge in found["judges"]:
        one = judge["agreement"]
        cells = [one["accuracy"], one["kappa"]["unweighted"], one["kappa"]["quadratic"], one["alpha"]]
        exact = [with_interval(cell) if judge["grade_by_grade"] else NOTHING for cell in cells]
        rows.append([judge["name"], f"{one['pairs']:,}", *exact, with_interval(one["mean_absolute_error"]["judge"])])
    majority = found["majority"]
    rows.append([f"always {majority['answer']}", f"{found['pairs']:,}", number(majority["accuracy"]), "0.00", "0.00",
                 NOTHING, number(majority["mean_absolute_error"])])  # fmt: skip
    return TextTable(
        f"Grade by grade, with {percent(found['confidence'])} intervals over {found['queries']} queries; a dash where "
        f"the judge's scale has another number of grades; the error is in human grades",
        header,
        rows,
    )


def relevance_table(found: dict) -> TextTable:
    """Relevant or not, each by its own scale, and the order of pairs at every threshold of people's grades."""
    thresholds = list(found["judges"][0]["agreement"]["auc"])
    rows = []
    for judge in found["judges"]:
        one = judge["agreement"]
        rows.append([
            judge["name"],
            with_interval(one["judge_relevant_share"]),
            with_interval(one["binary"]["accuracy"]),
            with_interval(one["binary"]["kappa"]),
            *(with_interval(one["auc"][at]["pooled"]) for at in thresholds),
        ])  # fmt: skip
    majority, share = found["majority"], found["relevant_share"]
    rows.append([f"always {'relevant' if share > 0.5 else 'not relevant'}", number(float(share > 0.5)),
                 number(majority["binary_accuracy"]), "0.00", *(["0.50"] * len(thresholds))])  # fmt: skip
    return TextTable(
        f"Relevant or not, each by its own scale (people: {percent(share)} relevant), and AUC at each human threshold",
        ["judge", "calls relevant", "same side", "κ", *(f"AUC(≥{at})" for at in thresholds)],
        rows,
    )


def difference_table(found: dict) -> TextTable:
    """Each judge against the reference: differences with intervals and corrected p-values."""
    measures = list(dict.fromkeys(row["measure"] for row in found["comparisons"]))
    cells: dict[str, dict[str, str]] = {}
    for row in found["comparisons"]:
        text = f"{_signed(row['difference'])}, p {'< 0.001' if row['p_holm'] < 0.001 else format(row['p_holm'], '.3f')}"
        cells.setdefault(row["judge"], {})[row["measure"]] = text
    rows = [[judge, *(by.get(measure, NOTHING) for measure in measures)] for judge, by in cells.items()]
    return TextTable(
        f"Each judge minus {found['reference']}: paired differences, and p-values corrected for the number of judges "
        f"in a column (Holm)",
        ["judge", *measures],
        rows,
    )


def system_table(found: dict) -> TextTable:
    """Whether judges put systems in the people's order."""
    systems = found["systems"]
    rows = [
        [name, with_interval(one["kendall"]), with_interval(one["rank_biased_overlap"])]
        for name, one in systems["judges"].items()
    ]
    rows.append(["unrelated orders", "0.00", number(systems["chance_overlap"])])
    return TextTable(
        f"Order of {len(systems['systems'])} systems ({systems['source']}) by mean {systems['measure']}, under the "
        f"judge's grades and under people's",
        ["judge", "Kendall's τ", f"rank-biased overlap (p = {systems['p']:g})"],
        rows,
    )


def _signed(interval: dict) -> str:
    text = with_interval(interval)
    return text if interval["value"] is None or interval["value"] < 0 else f"+{text}"
