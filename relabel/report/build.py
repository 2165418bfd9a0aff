"""The page: sections in their order, rendered by one template with autoescape; `build_report(run) -> html`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from relabel.errors import InputError
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
        InputError: where a file of the run folder is no JSON, no table or no record of ours; missing parts are no
            error.
    """
    facts = _as_of_ours(run, "run", lambda: read_run(run))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("page.html.j2")
    sections = [
        _as_of_ours(run, module.__name__.rpartition(".")[2], lambda module=module: module.section(facts))
        for module in SECTIONS
    ]
    return page.render(name=facts.name, sections=sections, numbers=count(1).__next__)


def _as_of_ours(run: Folder, part: str, read: Callable[[], Any]) -> Any:
    """What `read` makes of a run's records; raises InputError where they are not as a run writes them."""
    try:
        return read()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            run.uri,
            f"records of {part} that are not as a run writes them ({type(error).__name__}: {str(error)[:200]})",
            "those of this version",
            "run that stage again with another --out, or remove its records",
        ) from error
