"""Rows that break the judge, and clocks that jump: the row is set aside with its reason, the rest is as without it."""

from __future__ import annotations

import os
import signal

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.errors import RelabelError
from relabel.records import PAIRS
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole
from tests.chaos import scenes
from tests.chaos.scenes import Actors, done, judged, meanwhile, settings, wait_for, write_table
from tests.conftest import pairs_of

POISON = "poisonous text"
#: The row that is poison, in the shard that holds row 77 without a query as well.
ROW = 70


@pytest.fixture(scope="module")
def without(cluster, tmp_path_factory):
    """The table of an undisturbed run in which the poison row has no text."""
    folder = tmp_path_factory.mktemp("chaos-without")
    write_table(Folder(folder / "pairs"), pairs_of, {ROW: " "})
    judged(settings(Folder(folder / "pairs"), shard_rows=40, actors=1), Folder(folder / "out"))
    return Folder(folder / "out")


@pytest.fixture
def poisoned(tmp_path):
    """Pairs with a poison row."""
    folder = Folder(tmp_path / "pairs")
    write_table(folder, pairs_of, {ROW: POISON})
    return folder


@pytest.mark.parametrize(
    ("trouble", "reason", "detail"),
    [
        pytest.param(
            {"kills": POISON},
            "kills-engine",
            "alone it ended the worker 2 times",
            marks=pytest.mark.chaos(
                fault="row that kills its worker", injected="SIGKILL to itself whenever it sees it"
            ),
        ),
        pytest.param(
            {"ends_engine": POISON},
            "kills-engine",
            "saying CudaError: an illegal memory access",
            marks=pytest.mark.chaos(fault="row that ends the engine", injected="the engine dead whenever it sees it"),
        ),
        pytest.param(
            {"raises": POISON},
            "worker-raises",
            "ValueError: the tokenizer panicked",
            marks=pytest.mark.chaos(
                fault="row that crashes the tokenizer", injected="an exception whenever it sees it"
            ),
        ),
    ],
    ids=["kills", "ends-engine", "raises"],
)
def test_poison_row(without, poisoned, tmp_path, troubled, tally, trouble, reason, detail):
    """Found by trying pieces, quarantined alone with its reason; the others' rows are those of a run without it."""
    troubled(**trouble)
    out = Folder(tmp_path / "out")
    judged(settings(poisoned, shard_rows=40, actors=1), out)
    _same_but_for_the_row(tally, without, out, reason, detail)


@pytest.mark.chaos(fault="text that is no UTF-8", injected="a byte 0xff in a Parquet file that another program wrote")
def test_text_that_is_no_utf8(without, poisoned, tmp_path, tally):
    """Quarantined with its bytes escaped, so that it can be corrected and driven again."""
    part = tmp_path / "pairs" / "part-00000.parquet"
    table = pq.read_table(part)
    texts = table["text"].cast(pa.binary()).to_pylist()
    texts[ROW] = b"caf\xe9 on the corner"
    raw = pa.array(texts, pa.binary()).view(pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("text"), PAIRS.field("text"), raw), part)
    out = Folder(tmp_path / "out")
    judged(settings(poisoned, shard_rows=40, actors=1), out)
    row = _same_but_for_the_row(tally, without, out, "invalid-utf8", "text: 'utf-8' codec can't decode byte 0xe9")
    assert r"caf\\xe9 on the corner" in row


@pytest.mark.chaos(fault="document of 8 million characters", injected="one row of the table")
def test_very_long_text(cluster, make_pairs, tmp_path, tally):
    """A document that exceeds any budget is judged like any other."""
    write_table(Folder(tmp_path / "pairs"), make_pairs, {ROW: "word1 " * 1_333_333})
    write_table(Folder(tmp_path / "short"), make_pairs, {ROW: "word1"})
    whole, out = Folder(tmp_path / "whole"), Folder(tmp_path / "out")
    judged(settings(Folder(tmp_path / "short")), whole)
    judged(settings(Folder(tmp_path / "pairs")), out)
    expected, found = (read_whole(one, "judgements").drop_columns(["prompt_tokens"]) for one in (whole, out))
    assert found.equals(expected)
    tally.count(whole, out)


@pytest.mark.chaos(fault="worker that dies of every row", injected="SIGKILL to itself at every shard")
def test_restarts_are_capped(cluster, pairs, whole, tmp_path, troubled, monkeypatch, tally):
    """Restarts end at a limit, with the number and the next step; a sane worker then goes on."""
    troubled(kills="word")
    out = Folder(tmp_path / "out")
    monkeypatch.setattr("jobs.shards.most_deaths", lambda actors: 6)
    with pytest.raises(
        RelabelError, match=r"judge: found workers that ended [67] times, on shards .*run the same command"
    ):
        judged(settings(pairs, actors=1), out)
    troubled()
    judged(settings(pairs), out)
    tally.same_tables(whole, out)


@pytest.mark.chaos(fault="clock jumps", injected="the workers' wall clocks jump by a day, to and fro, after each shard")
def test_clock_jumps(cluster, pairs, whole, tmp_path, troubled, tally):
    """Durations come from a clock that does not jump: none is negative, none is a day."""
    troubled(clock=86_400.0, pause=0.02)
    out = Folder(tmp_path / "out")
    judged(settings(pairs), out)
    markers = [(out / "markers").read_json(name) for name in (out / "markers").names()]
    assert max(marker["started"] for marker in markers) - min(marker["started"] for marker in markers) > 43_200
    assert all(0.02 <= marker["busy_seconds"] < 60 for marker in markers)
    assert all(marker["finished"] >= marker["started"] for marker in markers)
    assert 0 < read_manifest(out).about["busy_seconds"] < 600
    tally.same_tables(whole, out)


@pytest.mark.timeout(900)
@pytest.mark.chaos(fault="engine dead, actor alive", injected="SIGKILL to vLLM's engine process below its actor")
def test_dead_engine(cluster, make_pairs, tmp_path, monkeypatch, tally):
    """The actor ends instead of failing shard after shard, another starts with an engine of its own.

    Keys and quarantine exact, probabilities within 0.02: what shares a batch in an engine's own process is chance."""
    from jobs import judge

    write_table(Folder(tmp_path / "pairs"), make_pairs, rows=80)
    config = settings(Folder(tmp_path / "pairs"), engine="vllm", actors=1, num_gpus=0, kv_cache_gib=1, dtype="float32")
    whole, out, killed = Folder(tmp_path / "whole"), Folder(tmp_path / "out"), []
    judged(config, whole)
    environment = judge.actor_environment
    own_process = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    monkeypatch.setattr(judge, "actor_environment", lambda config: environment(config) | own_process)
    actors = Actors()

    def kill() -> None:
        [actor] = actors.now()
        engines = [one for one in psutil.Process(actor.pid).children() if "EngineCore" in "".join(one.cmdline())]
        assert len(engines) == 1, [one.cmdline() for one in psutil.Process(actor.pid).children()]
        os.kill(engines[0].pid, signal.SIGKILL)
        killed.append(actor.pid)
        wait_for(lambda: not psutil.pid_exists(actor.pid), "the end of the actor whose engine is dead")

    with meanwhile(done(out, 1), kill):
        judged(config, out)
    assert killed
    tally.near_tables(whole, out)


def _same_but_for_the_row(tally: scenes.Tally, whole: Folder, out: Folder, reason: str, detail: str) -> str:
    """Judgements equal, and quarantine too but for what it says of the poison row; returns that row."""
    tally.count(whole, out)
    assert read_whole(out, "judgements").equals(read_whole(whole, "judgements"))
    expected, found = (scenes.quarantined(one).to_pylist() for one in (whole, out))
    assert [one["source"] for one in expected] == [one["source"] for one in found]
    [place] = [place for place, one in enumerate(found) if one["doc_id"] == f"d{ROW}"]
    assert found[place]["reason"] == reason
    assert detail in found[place]["detail"]
    assert found[:place] + found[place + 1 :] == expected[:place] + expected[place + 1 :]
    assert read_manifest(out).about["quarantined_by_reason"] == {"empty-text": 1, "empty-query": 1, reason: 1}
    return found[place]["row"]
