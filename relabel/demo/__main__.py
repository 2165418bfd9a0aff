"""Write the demo collection as a BEIR folder and say what was written: `python -m relabel.demo FOLDER`."""

from __future__ import annotations

import argparse

from relabel.demo.beir import write_beir

parser = argparse.ArgumentParser(prog="python -m relabel.demo", description=__doc__)
parser.add_argument("folder", help="made if missing; files of an earlier run are replaced")
print(write_beir(parser.parse_args().folder))
