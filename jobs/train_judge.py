"""`relabel train-judge` as a module, for `ray job submit`: a small LLM is fine-tuned on human grades (`train.judge`).

python -m jobs.train_judge --pairs s3://bucket/run/human --out s3://bucket/run/judge
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["train-judge", *sys.argv[1:]]))
