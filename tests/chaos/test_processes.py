"""Processes and nodes that die, in the middle of a judge's stage: the table is that of an undisturbed run."""

from __future__ import annotations

import os
import signal

import pytest
import ray

from relabel.storage import Folder
from relabel.tables import read_manifest
from tests.chaos import workers
from tests.chaos.conftest import NODE_GPUS, add_node
from tests.chaos.scenes import Actors, done, done_by, driver, judged, meanwhile, nodes, options, settings, wait_for
from tests.jobs.stage_runs import markers, shards_done


@pytest.mark.chaos(fault="judge actor killed", injected="SIGKILL to one of two actors, three times in a run")
def test_killed_actors(cluster, pairs, whole, tmp_path, troubled, tally):
    """Ray starts another actor, which gets the shard again."""
    troubled(pause=0.2)
    out, killed, actors = Folder(tmp_path / "out"), [], Actors()

    def kill() -> None:
        for moment in (3, 9, 15):
            wait_for(lambda moment=moment: shards_done(out) >= moment and actors.now(), "an actor to kill")
            killed.append(actors.now()[0].pid)
            os.kill(killed[-1], signal.SIGKILL)

    with meanwhile(done(out, 3), kill):
        judged(settings(pairs), out)
    assert len(set(killed)) == 3
    tally.same_tables(whole, out)


@pytest.mark.chaos(fault="judge actor that stands still", injected="SIGSTOP to both actors in the middle of a run")
def test_actors_that_stand_still(cluster, pairs, whole, tmp_path, troubled, tally, monkeypatch):
    """Nothing tells Ray that they do nothing; they are ended, others start and get their shards."""
    troubled(pause=0.2)
    monkeypatch.setattr("jobs.stalled.STILL_SECONDS", 4.0)
    out, actors, stopped, log = Folder(tmp_path / "out"), Actors(), [], []

    def stop() -> None:
        stopped.extend(actors.now())
        for process in stopped:
            process.suspend()

    with meanwhile(done(out, 3), stop):
        judged(settings(pairs), out, log)
    assert len(stopped) == 2
    assert any("its workers are ended, others start" in line for line in log)
    wait_for(lambda: not {process.pid for process in stopped} & {process.pid for process in actors.now()}, "their end")
    tally.same_tables(whole, out)


@pytest.mark.chaos(fault="judge actor killed at its start", injected="SIGKILL to an actor that loads its judge")
def test_killed_while_starting(cluster, pairs, whole, tmp_path, troubled, tally):
    """A worker that dies before its first shard is replaced, too."""
    troubled(start=4.0)
    out, actors = Folder(tmp_path / "out"), Actors()
    with meanwhile(lambda: len(actors.now()) == 2, lambda: os.kill(actors.now()[0].pid, signal.SIGKILL)):
        judged(settings(pairs), out)
    tally.same_tables(whole, out)


@pytest.mark.chaos(
    fault="node lost, and none in its place for a while", injected="SIGKILL to a raylet with an actor; a node added"
)
def test_lost_node_and_a_new_one(cluster, pairs, whole, tmp_path, troubled, tally):
    """The other nodes' actors go on; the lost one's shards wait for a node that has room, here one that joins."""
    troubled(pause=0.3)
    out, extra, added = Folder(tmp_path / "out"), add_node(cluster), []

    def lose() -> None:
        cluster.remove_node(extra, allow_graceful=False)
        before = shards_done(out)
        wait_for(lambda: shards_done(out) > before + 4, "work on the other nodes")
        added.append(add_node(cluster))

    try:
        with meanwhile(lambda: extra.node_id in nodes(out), lose):
            judged(settings(pairs, actors=3, num_gpus=NODE_GPUS), out)
    finally:
        for node in added:
            cluster.remove_node(node, allow_graceful=False)
    tally.same_tables(whole, out)


@pytest.mark.chaos(fault="node lost for good", injected="SIGKILL to a raylet with an actor; no room for it elsewhere")
def test_lost_node_for_good(cluster, pairs, whole, tmp_path, troubled, tally):
    """The other nodes' actors do what is left; the lost one's shards are done where an actor has nothing left to do."""
    troubled(pause=0.3)
    out, extra = Folder(tmp_path / "out"), add_node(cluster)
    with meanwhile(lambda: extra.node_id in nodes(out), lambda: cluster.remove_node(extra, allow_graceful=False)):
        judged(settings(pairs, actors=3, num_gpus=NODE_GPUS), out)
    tally.same_tables(whole, out)


@pytest.mark.chaos(fault="node lost", injected="SIGKILL to a raylet with an actor, another node has room for it")
def test_lost_node(cluster, pairs, whole, tmp_path, troubled, tally):
    """Its actor starts again on another node; blocks that were in its memory are read again."""
    troubled(pause=0.3)
    out, extra = Folder(tmp_path / "out"), add_node(cluster)
    holder = ray.remote(num_gpus=NODE_GPUS)(Placeholder).remote()
    ray.get(holder.ready.remote())

    def lose() -> None:
        cluster.remove_node(extra, allow_graceful=False)
        ray.kill(holder)

    try:
        with meanwhile(lambda: len(nodes(out)) == 2, lose):
            judged(settings(pairs, actors=2, num_gpus=NODE_GPUS), out)
    finally:
        ray.kill(holder)
        if extra in cluster.worker_nodes:
            cluster.remove_node(extra, allow_graceful=False)
    tally.same_tables(whole, out)


class Placeholder:
    """Keeps a node's GPUs until it is killed, so that there is room after a loss and not before."""

    def ready(self) -> None:
        pass


@pytest.mark.chaos(fault="node added", injected="a raylet that joins in mid-run while an actor waits for a GPU")
def test_added_node_is_used(cluster, pairs, whole, tmp_path, troubled, tally):
    """A pool whose actors did not all find room works with those that did; a node that joins gets the others."""
    gate = tmp_path / "gate"
    troubled(gate=str(gate))
    out, added = Folder(tmp_path / "out"), []

    def join() -> None:
        added.append(add_node(cluster))
        (tmp_path / "gate.node").write_text(added[0].node_id)
        wait_for(lambda: added[0].node_id in nodes(out), "a shard done on the new node")
        gate.touch()

    try:
        with meanwhile(done(out, 2), join):
            judged(settings(pairs, actors=3, num_gpus=NODE_GPUS), out)
    finally:
        for node in added:
            cluster.remove_node(node, allow_graceful=False)
    assert added[0].node_id in nodes(out)
    tally.same_tables(whole, out)


@pytest.mark.chaos(fault="driver killed", injected="SIGKILL to the driver; the same command again")
def test_killed_driver(cluster, pairs, whole, tmp_path, tally):
    """The cluster lives on; the same command goes on at once, and what was finished keeps its markers."""
    out, output, log = Folder(tmp_path / "out"), tmp_path / "log", []
    process = driver(options(settings(pairs), out), output, {"pause": 0.3})
    wait_for(lambda: process.poll() is not None or shards_done(out) >= 6, "shards")
    assert process.poll() is None, output.read_text()[-3000:]
    process.kill()
    process.wait(30)
    kept = markers(out)
    judged(settings(pairs), out, log)
    assert f"{out.uri}: the run of process {process.pid} ended without freeing it; going on" in log
    now = markers(out)
    assert {index: now[index] for index in kept} == kept
    tally.same_tables(whole, out)


@pytest.mark.chaos(
    fault="commit cut between part and marker", injected="SIGKILL to the committing process after the part was written"
)
def test_cut_commit(cluster, pairs, whole, tmp_path, monkeypatch, tally):
    """The commit is made again: the part is replaced by the same bytes, the marker follows."""
    out, flag = Folder(tmp_path / "out"), tmp_path / "flag"
    monkeypatch.setenv("RELABEL_CHAOS_CUT", str(flag))
    monkeypatch.setattr("jobs.shards._Sink", workers.CutSink)
    judged(settings(pairs), out)
    assert flag.exists()
    tally.same_tables(whole, out)


@pytest.mark.chaos(
    fault="whole job cut between part and marker",
    injected="SIGKILL to the driver and the committing process after the part was written; the same command again",
)
def test_part_without_marker(cluster, pairs, whole, tmp_path, tally):
    """A part without a marker is not done: its shard is judged and written again."""
    out, log, flag = Folder(tmp_path / "out"), tmp_path / "log", tmp_path / "flag"
    cut = {"RELABEL_CHAOS_CUT": str(flag), "RELABEL_CHAOS_CUT_DRIVER": "1"}
    process = driver(options(settings(pairs), out), log, {"pause": 0.3}, **cut)
    assert process.wait(120) == -signal.SIGKILL, log.read_text()[-3000:]
    assert flag.exists()
    assert out.exists("part-00003.parquet")
    assert not out.exists("markers/00003.json")
    judged(settings(pairs), out)
    tally.same_tables(whole, out)


@pytest.mark.chaos(
    fault="four actors on three nodes", injected="four judge actors with a GPU each, spread over raylets"
)
def test_spread_actors(cluster, pairs, whole, tmp_path, troubled, tally):
    """Placement follows the recipe's num_gpus, and the table is that of one actor."""
    troubled(gate=str(tmp_path / "gate"), gated=0)
    out = Folder(tmp_path / "out")
    with meanwhile(lambda: len(list(tmp_path.glob("gate-*"))) == 4, (tmp_path / "gate").touch):
        judged(settings(pairs, actors=4, num_gpus=1), out)
    assert len(nodes(out)) == 2
    assert len({worker["process"] for worker in done_by(out)}) == 4
    assert read_manifest(out, "judgements").rows_in == 480
    tally.same_tables(whole, out)
