"""Poison rows without Ray: rows that raise, that are no UTF-8, and what a worker's deaths tell about a shard."""

from __future__ import annotations

from dataclasses import asdict

import pyarrow as pa
import pytest

from jobs import poison
from jobs.poison import Attempt, Guarded, forgive
from jobs.set_aside import unreadable
from relabel.engine import EngineDead
from relabel.errors import InputError, RelabelError
from relabel.ledger import Segment, Shard
from relabel.records import QUARANTINE
from relabel.storage import Folder
from relabel.tables import quarantine_table

ROWS = 100
SHARD = Shard(4, (Segment("part-00001.parquet", 300, 300 + ROWS),))


class Panic(BaseException):
    """As a tokenizer in Rust panics: no Exception."""


class Died(Exception):
    """Stands for the end of the process."""


def work_that(fails):
    """A worker that upper-cases texts, quarantines texts without words, and does `fails(texts)` first."""

    def work(pairs: pa.Table, shard: Shard):
        texts = pairs["text"].to_pylist()
        fails(texts)
        reasons = [None if text.strip() else ("empty-text", "no words") for text in texts]
        rows = pa.table({"text": [text.upper() for text in texts if text.strip()]})
        quarantined = quarantine_table(pairs, reasons, shard.source, "judge")
        return rows, quarantined, {"quarantined": {"empty-text": quarantined.num_rows}}

    return work


@pytest.fixture
def pairs(make_pairs):
    return make_pairs(
        [(f"q{row}", f"d{row}", "query", "" if row in (10, 60) else f"text {row}", 0) for row in range(ROWS)]
    )


@pytest.fixture
def ends(monkeypatch):
    """A dead engine's exit raises `Died` here instead of ending the tests."""

    def leave(code: int) -> None:
        raise Died(code)

    monkeypatch.setattr(poison.os, "_exit", leave)


def raising(*bad: str, error=Panic):
    def fails(texts: list[str]) -> None:
        if set(bad) & set(texts):
            raise error("at index 7")

    return fails


def until_done(work, pairs: pa.Table, out: Folder, monkeypatch, deaths: int = 60) -> tuple:
    """Call as Ray would: a new worker after each death; the result and the number of deaths."""
    for death in range(deaths):
        monkeypatch.setattr(poison, "_started_again", lambda again=death > 0: again)
        try:
            return *Guarded(work, out, "judge")(pairs, SHARD), death
        except Died:
            continue
    raise AssertionError("it never came to an end")


def test_nothing_is_written_where_nothing_happens(tmp_path, pairs):
    """An undisturbed shard is one call of the worker and no file."""
    out, calls = Folder(tmp_path), []
    rows, quarantined, _ = Guarded(work_that(lambda texts: calls.append(len(texts))), out, "judge")(pairs, SHARD)
    assert (rows.num_rows, quarantined.num_rows, calls) == (98, 2, [ROWS])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
def test_a_driver_and_a_task_are_no_actors_that_started_again(ray_session):
    """Where Ray runs in this very process, too: it asserts that nobody but an actor asks."""
    import ray

    assert poison._started_again() is False
    assert ray.get(ray.remote(lambda: poison._started_again()).remote()) is False


def test_rows_that_raise_are_set_aside_in_their_place(tmp_path, pairs):
    """Each alone, in the order and with the source that they have in the shard, counted by reason."""
    guarded = Guarded(work_that(raising("text 11", "text 59")), Folder(tmp_path), "judge")
    rows, quarantined, facts = guarded(pairs, SHARD)
    assert rows["text"].to_pylist() == [f"TEXT {row}" for row in range(ROWS) if row not in (10, 11, 59, 60)]
    assert quarantined["source"].to_pylist() == [f"part-00001.parquet:{300 + row}" for row in (10, 11, 59, 60)]
    assert quarantined["reason"].to_pylist() == ["empty-text", "worker-raises", "worker-raises", "empty-text"]
    assert quarantined["detail"][1].as_py() == "Panic: at index 7"
    assert quarantined.schema.equals(QUARANTINE)
    assert facts == {"quarantined": {"empty-text": 2, "worker-raises": 2}}


def test_a_worker_that_raises_for_everything_is_a_bug(tmp_path, pairs):
    """Its error is raised as it is, and no row pays for it."""
    with pytest.raises(ZeroDivisionError):
        Guarded(work_that(lambda texts: 1 / 0), Folder(tmp_path), "judge")(pairs, SHARD)


def test_our_own_errors_are_no_rows_fault(tmp_path, pairs):
    """An error with a next step reaches the person at the first row."""
    calls = []

    def fails(texts: list[str]) -> None:
        calls.append(len(texts))
        raise RelabelError("model", "x", "y")

    with pytest.raises(RelabelError):
        Guarded(work_that(fails), Folder(tmp_path), "judge")(pairs, SHARD)
    assert calls == [ROWS]


@pytest.mark.parametrize("row", [0, 37, 99])
def test_a_row_that_ends_the_engine_is_found(tmp_path, pairs, monkeypatch, ends, row):
    """Few deaths, the row alone in quarantine with the engine's last words, the rest in one call."""
    out, sizes = Folder(tmp_path), []
    fails = raising(f"text {row}", error=EngineDead)

    def work(some: pa.Table, shard: Shard):
        sizes.append(some.num_rows)
        return work_that(fails)(some, shard)

    rows, quarantined, _, deaths = until_done(work, pairs, out, monkeypatch)
    assert deaths <= 6
    assert rows["text"].to_pylist() == [f"TEXT {other}" for other in range(ROWS) if other not in (row, 10, 60)]
    assert sizes[-1] == ROWS - 1
    [found] = [one for one in quarantined.to_pylist() if one["reason"] == "kills-engine"]
    assert (found["doc_id"], found["source"]) == (f"d{row}", f"part-00001.parquet:{300 + row}")
    assert found["detail"] == "alone it ended the worker 2 times, saying at index 7"


def test_several_rows_that_end_the_engine_are_all_found(tmp_path, pairs, monkeypatch, ends):
    """Next to each other and far apart, with a row that raises among them."""
    fails, panics = raising("text 3", "text 4", "text 98", error=EngineDead), raising("text 50")

    def both(texts: list[str]) -> None:
        panics(texts)
        fails(texts)

    rows, quarantined, _, _ = until_done(work_that(both), pairs, Folder(tmp_path), monkeypatch)
    assert rows.num_rows == ROWS - 2 - 4
    assert [one["doc_id"] for one in quarantined.to_pylist() if one["reason"] == "kills-engine"] == ["d3", "d4", "d98"]


def test_one_death_of_a_lost_node_costs_no_row(tmp_path, pairs):
    """A single row at work when its node was lost is tried again before it is blamed; then nothing of it is left."""
    out = Folder(tmp_path)
    out.write_json(
        "attempts/00004.json",
        {"shard": 4, "running": [20, 21], "whole": 2, "pieces": [[20, 21], [21, 24]], "deaths": 3},
    )
    guarded = Guarded(work_that(lambda texts: None), out, "judge")
    guarded._again = True
    rows, quarantined, _ = guarded(pairs, SHARD)
    assert (rows.num_rows, set(quarantined["reason"].to_pylist())) == (98, {"empty-text"})
    assert (out / "attempts").names() == []
    attempt = Attempt(4, running=[20, 21], whole=2, pieces=[[20, 21], [21, 24]], deaths=3)
    attempt.died(ROWS)
    assert (attempt.alone, attempt.poison) == ({"20": 1}, [])


def test_deaths_of_nodes_that_were_lost_do_not_add_up(tmp_path, pairs, monkeypatch, ends):
    """Spot nodes go for days; a shard that was finished since, and had no bad row, leaves no word of its deaths."""
    out = Folder(tmp_path)
    monkeypatch.setattr(poison, "_started_again", lambda: True)
    for death in range(3 * poison.STAGE_DEATHS):
        shard = Shard(death, SHARD.segments)
        out.write_json(f"attempts/{death:05d}.json", {"shard": death, "running": [0, ROWS]})
        rows, quarantined, _ = Guarded(work_that(lambda texts: None), out, "judge")(pairs, shard)
        assert (rows.num_rows, quarantined.num_rows) == (ROWS - 2, 2)
    assert (out / "attempts").names() == []


def test_many_workers_may_die_at_once():
    """A lost zone takes hundreds of them in one moment, and a few times in a run."""
    assert poison.most_deaths(1) == poison.STAGE_DEATHS
    assert poison.most_deaths(1000) == 1000 * poison.DEATHS_A_WORKER


def test_rows_that_only_kill_together_are_told(tmp_path, pairs, monkeypatch, ends):
    """Memory for a piece but not for the shard: no row is to blame, and the error says what would help."""

    def fails(texts: list[str]) -> None:
        if len(texts) > 50:
            raise EngineDead("out of memory")

    with pytest.raises(
        RelabelError, match=r"shard 4: found rows that end the worker together .*out of memory.*smaller"
    ):
        until_done(work_that(fails), pairs, Folder(tmp_path), monkeypatch)


def test_deaths_have_a_limit_and_a_new_start_knows_none(tmp_path, pairs, monkeypatch, ends):
    """The error counts them and says what to do; rows blamed by a worker that dies of everything are not blamed on."""
    out = Folder(tmp_path)
    everything = work_that(raising(*(f"text {row}" for row in range(ROWS)), error=EngineDead))
    with pytest.raises(RelabelError, match=r"workers that ended 60 times, on shards 4 \(at index 7\)") as caught:
        until_done(everything, pairs, out, monkeypatch, 100)
    assert "run the same command again: finished shards are kept" in str(caught.value)
    assert Attempt(**out.read_json("attempts/00004.json")).poison
    forgive(out)
    rows, quarantined, _, deaths = until_done(work_that(lambda texts: None), pairs, out, monkeypatch)
    assert (rows.num_rows, quarantined.num_rows, deaths) == (ROWS - 2, 2, 0)


def test_a_record_that_goes_while_deaths_are_counted_is_none(tmp_path, monkeypatch):
    """Another worker finishes its shard and removes its record between the listing and the reading."""
    out = Folder(tmp_path)
    for shard in (3, 4):
        out.write_json(poison._name(shard), asdict(Attempt(shard, deaths=1)))
    listed = Folder.names

    def names(folder: Folder, *arguments, **options) -> list[str]:
        found = listed(folder, *arguments, **options)
        out.remove(poison._name(3))
        return found

    monkeypatch.setattr(Folder, "names", names)
    assert [attempt.shard for attempt in poison._attempts(out)] == [4]


def test_a_store_that_does_not_answer_is_no_shard_without_deaths(tmp_path, pairs, monkeypatch):
    """What workers died of is not forgotten: the error is the store's."""
    monkeypatch.setattr(poison, "_started_again", lambda: True)

    def refuse(folder: Folder, name: str) -> None:
        raise InputError(folder.uri, "no server at the endpoint", "a server that answers")

    monkeypatch.setattr(Folder, "read_json", refuse)
    with pytest.raises(InputError, match="no server at the endpoint"):
        Guarded(work_that(lambda texts: None), Folder(tmp_path), "judge")(pairs, SHARD)


def test_bytes_that_are_no_utf8_are_quarantined_escaped(tmp_path, pairs):
    """The row is kept as text that can be read; its neighbours are untouched."""
    texts = pairs["text"].cast(pa.binary()).to_pylist()
    texts[30] = b"caf\xe9"
    raw = pa.array(texts, pa.binary()).view(pa.string())
    broken = pairs.set_column(pairs.schema.get_field_index("text"), pairs.schema.field("text"), raw)
    assert list(unreadable(broken)) == [30]
    rows, quarantined, _ = Guarded(work_that(lambda texts: None), Folder(tmp_path), "judge")(broken, SHARD)
    assert rows.num_rows == ROWS - 3
    [found] = [one for one in quarantined.to_pylist() if one["reason"] == "invalid-utf8"]
    assert found["source"] == "part-00001.parquet:330"
    assert r"caf\\xe9" in found["row"]
