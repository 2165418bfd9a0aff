"""What sections are made of: text, notices, tables, bars, interval plots, lines. Data only; the page renders them.

Invariant: every string in a block is plain text; the template escapes it. Charts are HTML boxes and SVG shapes
without text, so that they stay readable at any width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "good", "bad", "muted"]


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = field(default="heading", init=False)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]
    kind: str = field(default="bullets", init=False)


@dataclass(frozen=True)
class Notice:
    """A sentence in a box: `warn` for what must not be overlooked, `good`, or `info`."""

    text: str
    tone: Literal["warn", "good", "info"] = "info"
    kind: str = field(default="notice", init=False)


@dataclass(frozen=True)
class Cell:
    """A table cell; `heat` in [0, 1] shades it."""

    text: str
    tone: Tone = ""
    heat: float | None = None


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first `headers` columns of a row name it, the others are numbers unless `words`."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    headers: int = 1
    words: bool = False
    kind: str = field(default="table", init=False)

    def cells(self) -> list[list[Cell]]:
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Bar:
    """One bar: `share` of the full width in [0, 1], and what is written beside it."""

    label: str
    share: float
    value: str
    tone: Tone = ""


@dataclass(frozen=True)
class Bars:
    """Horizontal bars."""

    caption: str
    bars: Sequence[Bar]
    kind: str = field(default="bars", init=False)


@dataclass(frozen=True)
class Dot:
    """A value with its interval, as shares of the axis in [0, 1]; `low` and `high` None without an interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Dots:
    """Dots with intervals on one axis from `start` to `end`; `mark` is a line at a share of the axis."""

    caption: str
    dots: Sequence[Dot]
    start: str
    end: str
    mark: float | None = None
    mark_label: str = ""
    kind: str = field(default="dots", init=False)


@dataclass(frozen=True)
class Line:
    """A curve: points (x, y) as shares of the plot, y upwards."""

    label: str
    points: Sequence[tuple[float, float]]
    tone: Literal["first", "second", "diagonal"] = "first"

    def path(self) -> str:
        return " ".join(f"{100 * x:.2f},{100 * (1 - y):.2f}" for x, y in self.points)


@dataclass(frozen=True)
class Lines:
    """Curves in one plot with named corners."""

    caption: str
    lines: Sequence[Line]
    left: str
    right: str
    bottom: str
    top: str
    marks: bool = False
    square: bool = False
    kind: str = field(default="lines", init=False)


def reliability(caption: str, *lines: Line) -> Lines:
    """Reliability curves over the diagonal that a calibrated judge follows."""
    return Lines(
        caption,
        [Line("diagonal", [(0, 0), (1, 1)], "diagonal"), *lines],
        left="0",
        right="P(relevant) 1",
        bottom="",
        top="1 relevant",
        marks=True,
        square=True,
    )


def reliability_points(bins: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    """Points of a curve: mean probability across, share that is relevant up."""
    return [(entry["mean_probability"], entry["relevant_share"]) for entry in bins]


@dataclass(frozen=True)
class Columns:
    """Sorted columns around a zero line: heights in [−1, 1]."""

    caption: str
    heights: Sequence[float]
    top: str
    bottom: str
    kind: str = field(default="columns", init=False)


@dataclass(frozen=True)
class Example:
    """One row whose label changed, with its texts."""

    head: str
    query: str
    title: str
    text: str
    facts: Sequence[str]
    kind: str = field(default="example", init=False)


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: Sequence[Block]
    opened: bool = False
    kind: str = field(default="folded", init=False)


Block = Heading | Text | Bullets | Notice | Table | Bars | Dots | Lines | Columns | Example | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page; `anchor` is its id."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def not_run(anchor: str, title: str, stage: str) -> Section:
    """The section of a stage that left nothing in the run folder."""
    return Section(anchor, title, [Text(f"Not run: the run folder holds nothing of {stage}.")])
