"""`relabel status RUN`: how far a run is, read from its folder, also while it runs, from another machine and on S3.

    relabel status RUN [--watch SECONDS]

RUN is a run folder, or the folder of one sharded table. What it can tell without asking Ray is in `relabel.run_status`.
"""

from __future__ import annotations

import argparse
import sys
import time

from relabel.errors import InputError
from relabel.ledger import PLAN
from relabel.run_status import run_lines, table_lines, table_status
from relabel.storage import Folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder, or the folder of one sharded table")
    parser.add_argument(
        "--watch", type=float, metavar="SECONDS", help="tell again every so many seconds until it is finished"
    )


def command(options: argparse.Namespace) -> int:
    folder = Folder(options.run)
    while not _told(folder) and options.watch:
        time.sleep(options.watch)
        print()
    return 0


def _told(folder: Folder) -> bool:
    """Tell how far it is; whether it is finished."""
    now = time.time()
    if folder.exists(PLAN):
        found = table_status(folder, now)
        print("\n".join(table_lines(folder.uri, found)))
        return found.complete
    if not folder.exists("run.json"):
        raise InputError(folder.uri, "neither run.json nor plan.json", "a run folder", "relabel run RECIPE --out RUN")
    record = folder.read_json("run.json")
    print("\n".join(run_lines(folder, record, now)))
    return bool(record.get("finished"))


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["status", *sys.argv[1:]]))
