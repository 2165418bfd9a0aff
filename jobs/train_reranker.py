"""`relabel train-reranker` as a module, for `ray job submit`: a re-ranker is trained on labels (`train.reranker`).

python -m jobs.train_reranker --labels s3://bucket/run/labels/replace --out s3://bucket/run/rerankers/replace
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["train-reranker", *sys.argv[1:]]))
