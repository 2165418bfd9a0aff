"""Calibration of the judge: each method on queries that it had not seen, reliability before and after."""

from __future__ import annotations

from relabel.report.blocks import Block, Cell, Line, Lines, Section, Table, Text, reliability, reliability_points
from relabel.report.run_files import Run
from relabel.words import count, interval

TITLE = "The judge's probabilities before and after calibration"


def section(run: Run) -> Section:
    if not run.calibration:
        return Section("calibration", TITLE, [Text("Not calibrated: judgements hold the judge's own probabilities.")])
    facts, chosen = run.calibration["facts"], run.calibration["method"]
    reserve = (
        f"; {count(facts['queries_reserved'])} further queries were set aside" if facts["queries_reserved"] else ""
    )
    blocks: list[Block] = [
        Text(
            f"Chosen by {facts['chosen_by']}: {chosen}, on {count(facts['pairs'])} pairs of "
            f"{count(facts['queries'])} queries{reserve}. Every number below comes from a calibrator that had not seen "
            f"the query ({facts['folds']} folds); the one that judged was fitted on all of them."
        ),
        _methods(facts["measured"], chosen),
        _reliability(facts["measured"], chosen),
    ]
    return Section("calibration", TITLE, blocks)


def _methods(measured: dict, chosen: str) -> Table:
    rows = [
        [
            Cell("before (none)" if name == "none" else name, "good" if name == chosen else ""),
            *(interval(entry[key]) for key in ("log_loss", "calibration_error")),
            *(interval(entry[key], 2) for key in ("accuracy", "kappa_quadratic")),
        ]
        for name, entry in measured.items()
    ]
    return Table(
        "Methods; the grade is the likeliest before calibration and the median after it",
        ["method", "log-loss", "calibration error of P(relevant)", "same grade", "Cohen's κ, quadratic"],
        rows,
    )


def _reliability(measured: dict, chosen: str) -> Lines:
    before = Line("before", reliability_points(measured["none"]["bins"]), "second")
    after = Line(f"after ({chosen})", reliability_points(measured[chosen]["bins"]))
    return reliability(
        "Reliability in ten bins of equal width: P(relevant) (across) and the share that people call relevant (up)",
        *([before] if chosen == "none" else [before, after]),
    )
