"""Training: loss and validation curves of the judge and of each re-ranker."""

from __future__ import annotations

from relabel.report.blocks import Block, Folded, Line, Lines, Section, Table, not_run
from relabel.report.run_files import Run
from relabel.tables import Manifest
from relabel.words import count, duration, value

TITLE = "Training"


def section(run: Run) -> Section:
    judges = {"judge, on weak labels": run.weak_training, "judge": run.judge_training}
    trainings = {name: training for name, training in judges.items() if training} | run.rerankers
    if not trainings:
        return not_run("training", TITLE, "train-judge or train-reranker")
    blocks: list[Block] = [
        Table(
            "What was trained",
            ["model", "from", "objective", "steps", "best step", "validation", "time", "device"],
            [_row(name, training) for name, training in trainings.items()],
            words=True,
        )
    ]
    if run.weak:
        blocks.append(_weak(run.weak))
    for name, training in trainings.items():
        plots = _curves(name, training)
        if plots:
            blocks.append(Folded(f"{name}: loss and validation", plots, opened=len(trainings) == 1 or name == "judge"))
    return Section("training", TITLE, blocks)


def _weak(weak: Manifest) -> Table:
    """What the judge learned before any human grade, and where it came from."""
    about = weak.about
    funnel = about.get("funnel") or {}
    rows = [
        ["source of the labels", str(about.get("label_source"))],
        ["pairs", f"{count(weak.rows)} of {count(about.get('queries'))} queries"],
    ]
    if "written" in funnel:
        dropped = {"in the test or held-out": funnel["in_leave_out"], "too far from their document": funnel["too_far"]}
        rows += [
            ["queries written", f"{count(funnel['written'])} by {about.get('model')}"],
            ["kept", "; ".join([count(funnel["kept"]), *(f"{count(n)} {why}" for why, n in dropped.items() if n)])],
        ]
    return Table("Weak labels, learned before any human grade", ["what", "value"], rows, words=True)


def _row(name: str, training: dict) -> list[str]:
    return [
        name,
        str(training.get("base_model") or "–"),
        ", ".join(str(training[key]) for key in ("architecture", "loss") if training.get(key)) or "grade token",
        count(training.get("steps")),
        count(training.get("best_step")),
        value(training.get("best_score")),
        duration(training.get("seconds")),
        " ".join(str(training[key]).split(" (")[0] for key in ("device", "dtype") if training.get(key)),
    ]


def _curves(name: str, training: dict) -> list[Lines]:
    losses = [(point["step"], point["loss"]) for point in training.get("losses") or []]
    plots = [_plot(f"{name}: training loss", losses, False)] if len(losses) > 1 else []
    validations = training.get("validations") or []
    measures = [key for key in (validations[0] if validations else {}) if key != "step"]
    for measure in measures:
        points = [(point["step"], point[measure]) for point in validations if point.get(measure) is not None]
        if len(points) > 1:
            plots.append(_plot(f"{name}: {measure} on held-out queries", points, True))
    return plots


def _plot(caption: str, points: list[tuple[float, float]], marks: bool) -> Lines:
    steps, heights = [step for step, _ in points], [height for _, height in points]
    low, high = min(heights), max(heights)
    width, span = max(steps[-1] - steps[0], 1), (high - low) or 1.0
    shares = [((step - steps[0]) / width, (height - low) / span) for step, height in points]
    return Lines(
        f"{caption}, from {value(heights[0])} to {value(heights[-1])}",
        [Line(caption, shares, "second" if marks else "first")],
        left=f"step {count(steps[0])}",
        right=f"step {count(steps[-1])}",
        bottom=value(low),
        top=value(high),
        marks=marks,
    )
