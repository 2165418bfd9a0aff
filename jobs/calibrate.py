"""`relabel calibrate` as a module, for `ray job submit`: probabilities fitted to human grades (`relabel.calibration`).

python -m jobs.calibrate --judgements s3://bucket/judgements --human s3://bucket/held_out --out s3://bucket/calibration
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["calibrate", *sys.argv[1:]]))
