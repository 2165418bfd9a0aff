"""Ctrl-C: the run stops, says how to go on, and going on finishes it.

What is interrupted is a process with a Ray of its own; what goes on is of this process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.cli import INTERRUPTED
from jobs.judge import judge
from relabel.judges import JudgeConfig
from relabel.storage import Folder
from tests.jobs.stage_runs import options, shards_done, start_stage, write_pairs
from tests.train.encoders import tiny_encoder
from tests.train.tables import topic_pairs, write_labels
from train.checkpoints import newest
from train.reranker import RerankerConfig, train_reranker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.usefixtures("ray_session")]


def _interrupted(process: subprocess.Popen, log: Path, moment: Callable[[], bool], seconds: float = 300) -> str:
    """Press Ctrl-C once `moment` has come; returns the log of the process, which must end by it."""
    end = time.monotonic() + seconds
    while not moment():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < end, "the moment to interrupt never came"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) == INTERRUPTED, log.read_text()[-2000:]
    return log.read_text()


@pytest.mark.long
def test_interrupted_judge_says_how_to_go_on(tmp_path, make_pairs):
    """SIGINT gives exit code 130 and the command to resume; the same command then finishes the table."""
    write_pairs(Folder(tmp_path / "pairs"), make_pairs([(f"q{i}", "d", f"query {i}", "a b c", 0) for i in range(4000)]))
    out = Folder(tmp_path / "out")
    settings = {"pairs": str(tmp_path / "pairs"), "engine": "lexical", "shard_rows": 10}
    process = start_stage("judge", [*options(settings), "--out", out.uri], tmp_path / "log")
    log = _interrupted(process, tmp_path / "log", lambda: shards_done(out) >= 5)
    assert "stopped; finished work is kept. To go on: relabel judge --pairs" in log
    assert "Traceback" not in log
    assert 5 <= shards_done(out) < 400
    assert judge(JudgeConfig(**settings), out).rows == 4000


def test_interrupted_training_says_how_to_go_on(tmp_path):
    """The same while Ray Train has the signal: exit code 130, then the command goes on after the last checkpoint."""
    tiny_encoder(tmp_path / "encoder")
    write_labels(Folder(tmp_path / "labels"), topic_pairs(queries=40, documents=8))
    out = Folder(tmp_path / "out")
    settings = {"labels": str(tmp_path / "labels"), "model": str(tmp_path / "encoder"), "batch": 4, "epochs": 8}
    settings |= {"max_length": 32, "checkpoint_steps": 10}
    process = start_stage("train_reranker", [*options(settings), "--out", out.uri], tmp_path / "log")
    log = _interrupted(process, tmp_path / "log", lambda: newest(out / "checkpoints") is not None)
    assert "stopped; finished work is kept. To go on: relabel train-reranker --labels" in log
    assert "Traceback" not in log
    assert not out.exists("training.json")
    record = train_reranker(RerankerConfig(**settings), out, (lines := []).append)
    assert any(line.startswith("resumed after step") for line in lines)
    assert record["sessions"] == 2
