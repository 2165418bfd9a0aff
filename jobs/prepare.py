"""`relabel prepare` as a module, for `ray job submit`: a dataset becomes a pairs table (`relabel.prepare`).

python -m jobs.prepare --dataset s3://bucket/beir --format beir --out s3://bucket/run/pairs
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["prepare", *sys.argv[1:]]))
