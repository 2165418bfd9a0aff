"""All faults, several times in a row: `python -m tests.chaos.run --times 10 [TESTS]`.

Each pass is a pytest process of its own with a new cluster. Each test adds a line to the record
(`tests.chaos.record`) when it has ended, from which `python -m tests.chaos.table` makes the table. A pass that fails
does not end the others; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.chaos.record import RECORD, ROOT, VARIABLE, tries


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RECORD, help="file to which the tries are added")
    parser.add_argument("tests", nargs="*", default=[], help="modules or tests below tests/chaos; default: all")
    options = parser.parse_args()
    record, failed = options.record.absolute(), 0
    command = [sys.executable, "-m", "pytest", "--chaos", "-p", "no:cacheprovider", *(options.tests or ["tests/chaos"])]
    for time in range(options.times):
        before = len(tries(record))
        code = subprocess.run(command, cwd=ROOT, env=os.environ | {VARIABLE: str(record)}).returncode
        failed += code != 0
        found = tries(record)[before:]
        passed = sum(line["passed"] for line in found)
        print(f"pass {time + 1} of {options.times}: {passed} of {len(found)} passed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
