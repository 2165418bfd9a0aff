"""Plan: what a recipe will take, before it is run: rows, tokens, actor hours, wall time, money, with intervals.

    relabel plan RECIPE [--out RUN] [--actors N …] [--rates RUN …] [--json]

With --out the tables of the run folder are used, and those that it lacks are prepared into it as `relabel run` would,
which then finds them done; the estimate is kept as RUN/estimate.json, and the report holds it against what came. A run
that is at work in the folder refuses a plan, as it does another run. Without --out they are prepared in a temporary
folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from relabel.lock import held
from relabel.planning.estimate import ESTIMATE, Work, estimate
from relabel.planning.uncertain import Uncertain
from relabel.storage import Folder

SAMPLE = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file, or the name of a recipe that comes with the project")
    parser.add_argument("--out", metavar="URI", help="run folder: its tables are used, the estimate is kept there")
    parser.add_argument("--actors", nargs="+", type=int, default=[], metavar="N", help="numbers of actors to plan for")
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="PAIRS", help="pairs of each table to tokenize")
    parser.add_argument(
        "--rates", nargs="+", default=[], metavar="RUN", help="earlier runs on such hardware whose rates hold here"
    )
    parser.add_argument(
        "--measure", action=argparse.BooleanOptionalAction, default=True,
        help="time judge, encoder and training here where no earlier run tells (a few minutes on a CPU)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the estimate as JSON")
    parser.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="a.b=c",
        help="change a key; the value is YAML",
    )  # fmt: skip


def command(options: argparse.Namespace) -> int:
    from jobs.recipe import load_recipe
    from relabel.planning.text import estimate_lines

    recipe = load_recipe(options.recipe, options.assignments)
    log = _to_stderr if options.json else print
    with tempfile.TemporaryDirectory(prefix="relabel-plan-") as scratch:
        folder = Folder(options.out or f"{scratch}/run")
        earlier = [Folder(uri) for uri in options.rates]
        with held(folder, log):  # it writes tables there as a run would
            found = plan(recipe, folder, scratch, options.actors, options.sample, earlier, options.measure, log)
            if options.out:
                folder.write_json(ESTIMATE, found)
    if options.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        print("\n" + "\n".join(estimate_lines(found)))
    return 0


def plan(
    recipe, folder: Folder, scratch: str, actors: Sequence[int], sample: int, earlier: Sequence[Folder], measure: bool,
    log: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """The estimate of a recipe, see docs/tables.md.

    Args:
        folder: the run folder; tables that it lacks are prepared into it.
        scratch: a local folder for what only the plan needs.
        sample: pairs of each table to tokenize.
        earlier: run folders whose rates are taken where their hardware and recipe agree.

    Raises:
        ConfigError: where the folder holds what another recipe began.
        InputError: for datasets, tables or models that cannot be used.
    """
    from jobs.cluster import connect
    from jobs.plan_counts import Counts
    from jobs.plan_rates import settled_rates
    from jobs.plan_work import Stages
    from jobs.run import prepare_tables
    from jobs.run_guards import check_models

    check_models(recipe)
    stages = prepare_tables(recipe, folder, log)
    connect(log)
    counts = Counts(recipe, folder, sample, scratch)
    before, source, notes = _earlier(earlier, recipe.model_dump(mode="json"))
    rates = settled_rates(counts, measure, before, source, log)
    works = [_done(work, stages) for work in (*_prepared(stages), *Stages(counts, rates).works())]
    wanted = actors or sorted({counts.judge.actors, 2, 4, 8})
    found = estimate(works, rates, wanted, recipe.prices.actor_hour, recipe.seed)
    return {
        "name": recipe.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **found,
        "prices": recipe.prices.model_dump(),
        "sample": sample,
        "notes": [*notes, *NOTES],
    }


NOTES = (
    "Intervals hold with 90 % probability as far as rates and samples tell; other load on the machines is not in them.",
    "More actors: only stages of the judge get them, each with hardware of its own like that of the measured one.",
)


def _earlier(runs: Sequence[Folder], recipe: dict) -> tuple[dict[str, list[float]], str, list[str]]:
    """What earlier runs measured, their names, and what is to be said of those that do not count."""
    from relabel import hardware
    from relabel.planning.earlier import differs, rates_of

    found, names, notes = defaultdict(list), [], []
    for run in runs:
        other = differs(run.read_json("run.json"), hardware.facts())
        if other:
            notes.append(f"{run.uri} says nothing: it ran on other hardware ({other}).")
            continue
        names.append(run.uri.rpartition("/")[2])
        for key, values in rates_of(run, recipe).items():
            found[key] += values
    return dict(found), f"measured in {', '.join(names)}", notes


def _prepared(stages: dict[str, dict]) -> list[Work]:
    """The stages that the plan itself did, or found done."""
    return [
        Work(name, Uncertain.exactly((stage.get("detail") or {}).get("rows", 0)), done=stage["seconds"])
        for name, stage in stages.items()
        if name.startswith("prepare ")
    ]


def _done(work: Work, stages: dict[str, dict]) -> Work:
    stage = stages.get(work.stage) or {}
    return replace(work, done=stage["seconds"]) if stage.get("finished") else work


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["plan", *sys.argv[1:]]))
