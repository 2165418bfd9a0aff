"""Ctrl-C: the run stops, says how to go on, and going on finishes it."""

from __future__ import annotations

import os
import signal

import pytest

from jobs.cli import INTERRUPTED
from relabel.storage import Folder
from relabel.tables import read_manifest
from tests.jobs.judge_runs import finish_judge, shards_done, start_judge, write_pairs


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_interrupted_judge_says_how_to_go_on(tmp_path, make_pairs):
    """SIGINT gives exit code 130 and the command to resume; the same command then finishes the table."""
    import time

    write_pairs(Folder(tmp_path / "pairs"), make_pairs([(f"q{i}", "d", f"query {i}", "a b c", 0) for i in range(4000)]))
    out = Folder(tmp_path / "out")
    arguments = ["--pairs", str(tmp_path / "pairs"), "--engine", "lexical", "--shard-rows", "10", "--out", out.uri]
    process = start_judge(arguments, tmp_path / "log")
    end = time.monotonic() + 200
    while shards_done(out) < 5:
        assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) == INTERRUPTED
    log = (tmp_path / "log").read_text()
    assert "stopped; finished work is kept. To go on: relabel judge --pairs" in log
    assert "Traceback" not in log
    assert 5 <= shards_done(out) < 400
    finish_judge(arguments, tmp_path / "log")
    assert read_manifest(out, "judgements").rows == 4000
