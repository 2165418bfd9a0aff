"""A driver in a process of its own: `python -m tests.chaos.drive '{"pause": 0.2}' judge --pairs …`."""

from __future__ import annotations

import functools
import json
import os
import sys

import jobs.judge
import jobs.shards
from jobs.cli import main
from tests.chaos.workers import CutSink, TroubledJudge

if __name__ == "__main__":
    jobs.judge.JudgeWorker = functools.partial(TroubledJudge, **json.loads(sys.argv[1]))
    if os.environ.get("RELABEL_CHAOS_CUT"):
        jobs.shards._Sink = CutSink
    sys.exit(main(sys.argv[2:]))
