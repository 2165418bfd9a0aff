"""`relabel demo`: the whole job with real models on a collection made from this machine's Python documentation."""

from __future__ import annotations

import argparse
import sys

from relabel.storage import Folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="local run folder (default: runs/demo)")
    parser.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="a.b=c", help="change a key of the recipe"
    )


def command(options: argparse.Namespace) -> int:
    from jobs.recipe import load_recipe
    from jobs.run import run
    from jobs.summary import print_summary
    from relabel.demo import write_beir
    from relabel.errors import ConfigError

    folder = Folder(options.out)
    if not folder.is_local:
        raise ConfigError("--out", options.out, "a local folder: the demo makes its collection on this machine")
    collection = folder / "collection"
    if not collection.exists("queries.jsonl"):
        summary = write_beir(collection.uri)
        print(f"demo: {summary}")
    recipe = load_recipe("demo", [f"{table}.dataset={collection.uri}" for table in TABLES] + options.assignments)
    report = run(recipe, folder)
    print_summary(folder)
    print(f"report: {report}")
    return 0


#: Sections of the demo's recipe that read the collection.
TABLES = ("prepare", "human", "held_out", "test")


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["demo", *sys.argv[1:]]))
