"""kill -9 of everything, at random moments: the final tables equal an undisturbed run's, nothing is judged twice.

What is killed is a process with a Ray of its own; the undisturbed run and the one that goes on are of this process.
"""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from jobs.judge import judge
from relabel.judges import JudgeConfig
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole
from tests.jobs.stage_runs import kill_when, markers, options, shards_done, start_stage, write_pairs

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

SHARDS = 40
KILLS = 1


@pytest.fixture(scope="module")
def rows() -> list[tuple]:
    chance = random.Random(7)
    words = [f"word{number}" for number in range(400)]
    return [
        (
            f"q{i // 20}",
            f"d{i}",
            f"what is {words[i // 20 % 400]} {words[i % 7]}",
            " ".join(chance.choices(words, k=60)),
            i % 2,
        )
        for i in range(3000)
    ]


@pytest.mark.timeout(900)
def test_killed_runs_end_like_an_undisturbed_one(tmp_path, make_pairs, rows):
    """A kill at a random moment, then the same command: equal tables, finished shards kept."""
    bad = [("q0", "empty", "what is it", "   ", 0), ("q1", "no-query", " ", "text", 0)]
    write_pairs(Folder(tmp_path / "pairs"), make_pairs(rows + bad))
    common = {"pairs": str(tmp_path / "pairs"), "engine": "lexical", "shard_rows": 3002 // SHARDS + 1}
    whole, killed = Folder(tmp_path / "whole"), Folder(tmp_path / "killed")
    judge(JudgeConfig(**common), whole)
    chance, kept = random.Random(), {}
    for _ in range(KILLS):
        moment = shards_done(killed) + chance.randint(0, SHARDS // (KILLS + 1) - 1)
        process = start_stage("judge", [*options(common), "--out", killed.uri], tmp_path / "killed.log")
        kill_when(process, lambda moment=moment: killed.exists("plan.json") and shards_done(killed) >= moment)
        done = markers(killed)
        assert {index: done[index] for index in kept} == kept
        kept = done
    judge(JudgeConfig(**common), killed)
    assert {index: markers(killed)[index] for index in kept} == kept
    _same_tables(whole, killed)
    assert read_manifest(killed, "judgements").quarantined == len(bad)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_vllm_runs_end_like_an_undisturbed_one(tmp_path, make_pairs, rows):
    """With the real model in vLLM: killed after the first shard and resumed, every log-probability is the same."""
    short = [(*row[:3], " ".join(row[3].split()[:8]), row[4]) for row in rows[:96]]
    write_pairs(Folder(tmp_path / "pairs"), make_pairs(short))
    common = {"pairs": str(tmp_path / "pairs"), "prompt": "terse-0-3", "shard_rows": 16, "kv_cache_gib": 1}
    whole, killed = Folder(tmp_path / "whole"), Folder(tmp_path / "killed")
    judge(JudgeConfig(**common), whole)
    process = start_stage("judge", [*options(common), "--out", killed.uri], tmp_path / "killed.log")
    kill_when(process, lambda: shards_done(killed) >= 2)
    kept = markers(killed)
    assert 0 < len(kept) < 6
    judge(JudgeConfig(**common), killed)
    assert {index: markers(killed)[index] for index in kept} == kept
    _same_tables(whole, killed)


def _same_tables(one: Folder, other: Folder) -> None:
    left, right = read_whole(one, "judgements"), read_whole(other, "judgements")
    assert left.equals(right)
    assert read_manifest(one).rows_in == read_manifest(other).rows_in
    for name in (one / "quarantine").names():
        first, second = (folder.read_table(f"quarantine/{name}") for folder in (one, other))
        assert isinstance(first, pa.Table)
        assert first.equals(second)
