"""`relabel report RUN`: the HTML page of a run, from the files in its folder alone."""

from __future__ import annotations

import argparse
import sys

from relabel.errors import InputError
from relabel.report.build import build_report
from relabel.storage import Folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder")


def command(options: argparse.Namespace) -> int:
    from jobs.run import REPORT

    folder = Folder(options.run)
    if not folder.exists("run.json"):
        raise InputError(folder.uri, "no run.json", "a run folder", "relabel run RECIPE --out RUN")
    folder.write_bytes(REPORT, build_report(folder).encode("utf-8"))
    print(f"report: {folder.uri}/{REPORT}")
    return 0


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["report", *sys.argv[1:]]))
