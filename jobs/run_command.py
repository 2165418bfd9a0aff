"""`relabel run RECIPE --out RUN`: the whole job from one recipe."""

from __future__ import annotations

import argparse

from relabel.storage import Folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file, or the name of a recipe that comes with the project")
    parser.add_argument("--out", metavar="URI", help="run folder: local or s3://bucket/prefix (default: runs/NAME)")
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="a.b=c",
        help="change a key; the value is YAML",
    )


def command(options: argparse.Namespace) -> int:
    from jobs.recipe import load_recipe
    from jobs.run import run
    from jobs.summary import print_summary

    recipe = load_recipe(options.recipe, options.assignments)
    folder = Folder(options.out or f"runs/{recipe.name}")
    report = run(recipe, folder)
    print_summary(folder)
    print(f"report: {report}")
    return 0
