"""`relabel export` as a module, for `ray job submit`: a table is written in another format (`relabel.formats.export`).

python -m jobs.export --table s3://bucket/run/labels/replace --format beir --out s3://bucket/beir
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["export", *sys.argv[1:]]))
