"""`relabel evaluate` as a module, for `ray job submit`: re-rankers on human judgements (`relabel.evidence.evaluate`).

python -m jobs.evaluate --test s3://bucket/test --models s3://bucket/rerankers/replace --out s3://bucket/evidence
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["evaluate", *sys.argv[1:]]))
