"""The judge against people: AUC beside chance, BM25 and the zero-shot encoder, κ, confusion, reliability."""

from __future__ import annotations

from relabel.agreement.gate import gate_lines
from relabel.agreement.verdict import headline_auc
from relabel.report import side_by_side
from relabel.report.blocks import (
    Block,
    Bullets,
    Cell,
    Dot,
    Dots,
    Line,
    Lines,
    Notice,
    Section,
    Table,
    Text,
    not_run,
    reliability,
    reliability_points,
)
from relabel.report.disagreements import folded
from relabel.report.run_files import Run
from relabel.words import count, interval, share, value

TITLE = "The judge against reference grades"
#: The AUC axis starts here unless an interval reaches below.
AXIS_START = 0.3


def section(run: Run) -> Section:
    if not run.agreement:
        if run.agree:
            return Section("judge", TITLE, side_by_side.blocks(run.agree))
        return not_run("judge", TITLE, "the judge's agreement with human grades")
    found = run.agreement
    blocks: list[Block] = [
        *_gate(run),
        Bullets(found["verdict"]),
        *(_auc_dots(found, view, caption) for view, caption in _views(found)),
        _table(found),
        _confusion(found),
    ]
    if found["calibration"]["bins"]:
        blocks.append(_reliability(found))
    blocks.append(Text(_left_out(found)))
    blocks += [*folded(found.get("disagreements", []), "the judge"), *side_by_side.blocks(run.agree)]
    return Section("judge", TITLE, blocks)


def _gate(run: Run) -> list[Block]:
    """The verdict of the gate; empty for a run folder without one."""
    if not run.gate:
        return []
    return [Notice(" ".join(gate_lines(run.gate)), "good" if run.gate["passed"] else "warn")]


def _views(found: dict) -> list[tuple[str, str]]:
    threshold = headline_auc(found)["threshold"]
    level = share(found["confidence"])
    return [
        ("pooled", f"AUC(≥{threshold}) over all held-out pairs, with {level} intervals; the line is chance"),
        ("within_query", f"AUC(≥{threshold}) inside each query, mean over queries, with {level} intervals"),
    ]


def _auc_dots(found: dict, view: str, caption: str) -> Dots:
    headline = headline_auc(found)
    entries = [("the judge", headline[view])]
    entries += [(other["name"], other["auc"][headline["threshold"]][view]) for other in found["comparisons"]]
    defined = [(name, entry) for name, entry in entries if entry["value"] is not None]
    start = min([AXIS_START, *(entry["low"] if entry["low"] is not None else entry["value"] for _, entry in defined)])

    def place(number: float | None) -> float | None:
        return None if number is None else (number - start) / (1 - start)

    dots = [
        Dot(name, place(entry["value"]), place(entry["low"]), place(entry["high"]), interval(entry, 2),
            "" if name == "the judge" else "second")
        for name, entry in defined
    ]  # fmt: skip
    return Dots(caption, dots, value(start, 1), "1.0", place(0.5), "chance 0.5")


def _table(found: dict) -> Table:
    binary, error, majority = found["binary"], found["mean_absolute_error"], found["majority"]
    always = f"always {majority['answer']}: {share(majority['accuracy'])}"
    rows = [
        ["same grade", interval(found["accuracy"], 2), always],
        ["same side of the relevance boundary", interval(binary["accuracy"], 2),
         f"always the commoner side: {share(binary['majority_accuracy'])}"],
        ["Cohen's κ", interval(found["kappa"]["unweighted"], 2), "unrelated graders: 0"],
        ["Cohen's κ, linear weights", interval(found["kappa"]["linear"], 2), "unrelated graders: 0"],
        ["Cohen's κ, quadratic weights", interval(found["kappa"]["quadratic"], 2), "unrelated graders: 0"],
        ["Krippendorff's α, ordinal", interval(found["alpha"], 2), "unrelated graders with the same shares: 0"],
        ["Cohen's κ, relevant or not", interval(binary["kappa"], 2), "unrelated graders: 0"],
        ["Kendall's τ inside a query", interval(found["kendall"], 2), _others_kendall(found)],
        ["mean error of the expected grade, in human grades", interval(error["judge"], 2),
         f"always {error['constant_grade']:g}: {value(error['constant'], 2)}"],
        ["calibration error of P(relevant)", interval(found["calibration"]["error"], 2), "perfect: 0"],
    ]  # fmt: skip
    for threshold, entry in found["auc"].items():
        others = "; ".join(
            f"{other['name']} {value(other['auc'][threshold]['pooled']['value'], 2)}" for other in found["comparisons"]
        )
        rows.append([f"AUC(≥{threshold}), {count(entry['positives'])} positives", interval(entry["pooled"], 2),
                     f"chance 0.50; {others}" if others else "chance 0.50"])  # fmt: skip
    return Table(
        "Agreement, and what it must be compared with", ["measure", "the judge", "beside it"], rows, words=True
    )


def _others_kendall(found: dict) -> str:
    words = [f"{other['name']} {value(other['kendall']['value'], 2)}" for other in found["comparisons"]]
    return "; ".join(["chance 0", *words])


def _confusion(found: dict) -> Table:
    confusion = found["confusion"]
    rows = []
    for name, line in zip(confusion["classes"], confusion["counts"], strict=True):
        total = max(sum(line), 1)
        rows.append([name, *(Cell(count(cell), heat=cell / total) for cell in line), share(sum(line) / found["pairs"])])
    return Table(
        f"Reference grades (down) and the judge's (across), {found['compared']}; shade is the share of the line",
        ["reference \\ judge", *confusion["classes"], "of all pairs"],
        rows,
    )


def _reliability(found: dict) -> Lines:
    return reliability(
        "Reliability: the judge's P(relevant) (across) and the share that is relevant by the reference (up); "
        "a calibrated judge follows the diagonal",
        Line("judge", reliability_points(found["calibration"]["bins"])),
    )


def _left_out(found: dict) -> str:
    seen, missing = found.get("pairs_of_seen_queries"), found.get("pairs_without_judgement")
    words = [f"{count(found['pairs'])} pairs of {count(found['queries'])} queries; {found['interval']}."]
    if found["human_sources"]:
        words.append(
            f"Reference grades: {', '.join(f'{name} {count(n)}' for name, n in found['human_sources'].items())}."
        )
    if seen:
        words.append(f"{count(seen)} pairs of {count(found['queries_seen'])} queries seen in training were left out.")
    if missing:
        words.append(f"{count(missing)} pairs have no judgement and were left out.")
    return " ".join(words)
