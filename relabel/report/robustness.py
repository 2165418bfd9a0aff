"""Robustness: how far the judge's grades move under perturbations, beside what relevance makes, and who fooled it."""

from __future__ import annotations

from relabel.report.blocks import Bullets, Cell, Dot, Dots, Section, Table, Text, not_run
from relabel.report.run_files import Run
from relabel.words import count, interval, share, signed, value

TITLE = "How easily the judge is moved"


def section(run: Run) -> Section:
    if not run.robustness:
        return not_run("robustness", TITLE, "the judge's robustness (recipe section `robustness`)")
    found = run.robustness
    tried = [entry for entry in found["perturbations"] if entry["all"]["pairs"]]
    blocks = [Bullets(found["verdict"]), *([_dots(found, tried)] if tried else []), _table(found, tried)]
    blocks += [_attacks(tried)] if any(entry["attack"] for entry in tried) else []
    return Section("robustness", TITLE, [*blocks, Text(_about(found))])


def _dots(found: dict, tried: list[dict]) -> Dots:
    movements = [entry["all"]["movement"] for entry in tried]
    ends = [end for one in movements for end in (one["value"], one["low"], one["high"]) if end is not None]
    reach = max(0.1, *(abs(end) for end in ends))

    def place(number: float | None) -> float | None:
        return None if number is None else (number + reach) / (2 * reach)

    dots = [
        Dot(entry["name"], *(place(entry["all"]["movement"][end]) for end in ("value", "low", "high")),
            interval(entry["all"]["movement"], 2, sign=True), "second" if entry["broken"] else "")
        for entry in tried
    ]  # fmt: skip
    caption = (
        f"Movement of the expected grade over all pairs, with {share(found['confidence'])} intervals; "
        "clearly against what is expected in another colour"
    )
    return Dots(caption, dots, signed(-reach, 2), signed(reach, 2), 0.5, "no movement")


def _table(found: dict, tried: list[dict]) -> Table:
    columns = ["perturbation", "a good judge", "pairs", "other grade", "|movement|", "irrelevant: movement",
               "crossed up", "relevant: movement", "crossed down", "cut"]  # fmt: skip
    rows = []
    for entry in tried:
        everywhere, irrelevant, relevant = entry["all"], entry["irrelevant"], entry["relevant"]
        rows.append([
            entry["name"], Cell(entry["expectation"], "bad" if entry["broken"] else ""), count(everywhere["pairs"]),
            share(everywhere["other_grade"]["value"]), value(everywhere["absolute_movement"]["value"], 2),
            interval(irrelevant["movement"], 2, sign=True), share(irrelevant["crossed_up"]["value"]),
            interval(relevant["movement"], 2, sign=True), share(relevant["crossed_down"]["value"]),
            share(entry["truncated"]),
        ])  # fmt: skip
    caption = (
        f"Movements in grades, shares of the pairs; irrelevant and relevant by the original labels "
        f"(relevant: {found['label_scale']['relevant_from']} and more); cut: the text was cut to the token budget"
    )
    return Table(caption, columns, rows)


def _attacks(tried: list[dict]) -> Table:
    rows = [
        [entry["name"], *(interval(entry["all"][name], 2) for name in ("raised", "success"))]
        for entry in tried
        if entry["attack"]
    ]
    return Table(
        "Attacks: shares that got a higher grade, of the pairs below the highest, and that were called relevant, of "
        "those that were not before",
        ["attack", "higher grade", "called relevant"],
        rows,
    )


def _about(found: dict) -> str:
    unjudged = sum(entry["unjudged"] for entry in found["perturbations"])
    words = [
        f"{count(found['pairs'])} labelled pairs of {count(found['queries'])} queries, "
        f"{count(found['relevant_pairs'])} of them relevant.",
        f"Each perturbation is measured on the pairs that it changes. {found['interval']}.",
        "What stands at the end of a document is not seen where its text is cut.",
    ]
    return " ".join(
        [*words, f"{count(unjudged)} variants are left out, for they or their originals could not be judged."]
        if unjudged
        else words
    )
