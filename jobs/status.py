"""`relabel status RUN`: how far a run is, read from its folder, also while it runs and from another machine."""

from __future__ import annotations

import argparse
import sys

from relabel.errors import InputError
from relabel.ledger import PLAN, finished_shards, read_plan
from relabel.storage import Folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder, or the folder of one sharded table")


def command(options: argparse.Namespace) -> int:
    folder = Folder(options.run)
    if folder.exists(PLAN):
        print(table_status("", folder))
        return 0
    if not folder.exists("run.json"):
        raise InputError(folder.uri, "neither run.json nor plan.json", "a run folder", "relabel run RECIPE --out RUN")
    record = folder.read_json("run.json")
    state = f"finished {record['finished']}" if record.get("finished") else "not finished"
    print(f"{record['name']}: started {record['started']}, {state}")
    for stage in record["stages"]:
        state = "done" if stage["finished"] else "under way or interrupted"
        print(f"  {stage['name']:<32} {stage['seconds']:>9.1f} s  {state}")
    for name in sorted({name.rpartition("/")[0] for name in folder.names(suffix=PLAN, recursive=True)}):
        print(f"  {table_status(name, folder / name)}")
    return 0


def table_status(name: str, folder: Folder) -> str:
    """One line about a sharded table: shards and rows done, quarantined, seconds of work."""
    plan = read_plan(folder)
    markers = finished_shards(folder, plan).values()
    rows = sum(marker.rows_in for marker in markers)
    bad = sum(marker.quarantined for marker in markers)
    busy = sum(marker.busy_seconds for marker in markers)
    rate = f", {rows / busy:,.1f} rows per busy second" if busy else ""
    return (
        f"{name or folder.uri}: {len(markers)} of {len(plan.shards)} shards, {rows:,} of {plan.rows:,} rows, "
        f"{bad:,} quarantined{rate}"
    )


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["status", *sys.argv[1:]]))
