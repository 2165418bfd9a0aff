"""The page: sections in their order, rendered by one template with autoescape; `build_report(run) -> html`."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from relabel.report import (
    calibration,
    changes,
    cost,
    examples,
    funnel,
    grades,
    judge,
    per_query,
    planned,
    promises,
    provenance,
    ranking,
    robustness,
    summary,
    training,
)
from relabel.report.run_files import read_run
from relabel.storage import Folder

#: Sections from top to bottom; each module has `section(run) -> Section`.
SECTIONS = (
    summary,
    ranking,
    per_query,
    judge,
    calibration,
    robustness,
    funnel,
    grades,
    changes,
    promises,
    examples,
    training,
    cost,
    planned,
    provenance,
)


def build_report(run: Folder) -> str:
    """The report of a run folder as one HTML page that needs no other file.

    Raises:
        InputError: where a file of the run folder is no JSON or no table of ours; missing parts are no error.
    """
    facts = read_run(run)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("page.html.j2")
    sections = [module.section(facts) for module in SECTIONS]
    return page.render(name=facts.name, sections=sections, numbers=count(1).__next__)
