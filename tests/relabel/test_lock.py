"""One run at a time in a folder: the same on local disk and S3, whoever holds it and however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import asdict

import pytest

from relabel import lock
from relabel.errors import FolderInUse, InputError
from relabel.lock import Holder, held, is_held, still_held
from relabel.storage import Folder

HOLD = """
import sys, time
from relabel.lock import held
from relabel.storage import Folder
with held(Folder(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

#: 2026-01-01T12:00 UTC.
NOON = 1767268800.0


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.integration)])
def folder(request, tmp_path) -> Folder:
    base = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3")
    return Folder(f"{base}/{uuid.uuid4().hex}")


@pytest.fixture
def quick(monkeypatch):
    """Heartbeats and patience of fractions of a second."""
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock, "DEAD", 1.0)
    monkeypatch.setattr(lock, "LOOK", 0.1)


@pytest.fixture
def elsewhere(monkeypatch):
    """Every holder counts as one of another machine, whose processes cannot be seen."""
    monkeypatch.setattr(lock, "_machine", lambda: None)


def holder(**changes) -> Holder:
    values = asdict(Holder.here()) | {"owner": "another", "host": "node-7", "pid": 4711, "machine": "m", "born": 1}
    return Holder(**values | changes)


def put(folder: Folder, number: int, value: Holder) -> None:
    folder.write_json(f"lock/{number:08d}.json", asdict(value))


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt: a runner of tests may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def other_process(folder):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder.uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_folder_is_free_again_afterwards_and_nothing_is_left(folder):
    """Twice in a row; a folder that was not there is gone again."""
    for _ in range(2):
        with held(folder):
            assert (folder / "lock").names() == ["00000001.json"]
        assert folder.names(recursive=True) == []
    assert not (folder.is_local and folder.exists())


def test_an_empty_folder_of_ones_own_stays(tmp_path):
    """Only what the lock made is removed."""
    with held(Folder(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_could_not_be_removed_does_not_lock_its_own_process_out(folder, monkeypatch):
    """A store that refuses at the end leaves the file; the same process may take the folder again."""

    def refuse(folder: Folder, name: str) -> None:
        raise InputError(folder.uri, "credentials that have expired", "others")

    with monkeypatch.context() as patch:
        with held(folder):
            patch.setattr(Folder, "remove", refuse)
        assert (folder / "lock").names() == ["00000001.json"]
    with held(folder):
        assert (folder / "lock").names() == ["00000002.json"]


def test_a_stage_inside_a_run_shares_its_lock(folder):
    """Holding a folder that this process holds changes nothing."""
    with held(folder) as outer, held(folder) as inner:
        assert inner is outer
    assert folder.names(recursive=True) == []


def test_a_living_process_is_named_at_once(folder, other_process):
    """On the same machine nobody waits: the error says who it is, since when, and what to type."""
    expected = (
        f"found another run at work in it, process {other_process.pid} on .* since .*, last sign of life .*"
        rf"Next: let it end, or stop it \(`kill {other_process.pid}` on "
    )
    with pytest.raises(FolderInUse, match=expected), held(folder):
        raise AssertionError("held twice")


def test_a_killed_process_frees_it_at_once(folder, other_process):
    """kill -9 leaves the file; the kernel says that its process is gone, or is another with its number."""
    other_process.kill()
    other_process.wait()
    log: list[str] = []
    with held(folder, log.append):
        assert (folder / "lock").names() == ["00000002.json"]
    assert log == [f"{folder.uri}: the run of process {other_process.pid} ended without freeing it; going on"]


def test_a_pid_that_was_given_again_is_not_taken_for_the_holder(folder):
    """A process of that number which was born at another time is another."""
    put(folder, 1, holder(machine=lock._machine(), pid=os.getpid(), born=1))
    with held(folder, lambda line: None):
        pass


def test_a_holder_on_another_machine_that_beats_is_refused(folder, quick, elsewhere):
    """Its count moves while it is watched; what its clock says does not matter."""
    put(folder, 3, holder(since="1970-01-01", alive="2099-01-01"))
    over = threading.Event()

    def beat() -> None:
        for beats in range(1, 1000):
            if over.wait(0.05):
                return
            put(folder, 3, holder(beats=beats, alive="1970-01-01"))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(FolderInUse, match="process 4711 on node-7"), held(folder, lambda line: None):
            raise AssertionError("held twice")
    finally:
        over.set()
        thread.join()


def test_a_holder_on_another_machine_that_stands_still_is_dead(folder, quick, elsewhere):
    """It is watched for a while, which the log says, and the next number is taken."""
    put(folder, 3, holder(alive="2099-01-01"))
    log: list[str] = []
    with held(folder, log.append):
        assert (folder / "lock").names() == ["00000004.json"]
    assert "held by process 4711 on node-7" in log[0]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"owner": ["x"]}', b'{"owner": 1, "pid": "4711"}'])
def test_a_lock_that_cannot_be_read_is_watched_like_any_other(folder, quick, content):
    """Whatever lies there, it is not taken for a lock that nobody holds, nor for one that lives for ever."""
    folder.write_bytes("lock/00000002.json", content)
    with held(folder, lambda line: None):
        assert (folder / "lock").names() == ["00000003.json"]


def test_who_was_taken_for_dead_notices_and_stops(folder, quick, interruptible):
    """A run that slept finds another's number at its next heartbeat: it is interrupted at once, and says why."""
    began: list[float] = []

    def sleep_and_be_taken_over() -> None:
        with held(folder):
            put(folder, 2, holder())
            began.append(time.monotonic())
            threading.Event().wait(60)

    with pytest.raises(FolderInUse, match="this run was taken for dead"):
        sleep_and_be_taken_over()
    assert time.monotonic() - began[0] < 30, "the call that blocked was waited for"
    assert (folder / "lock").names() == ["00000002.json"]


@pytest.mark.parametrize("later", [[], [1], [2]], ids=["nobody", "a third with its number", "a third"])
def test_who_was_taken_for_dead_notices_also_when_the_other_has_ended(folder, quick, interruptible, later):
    """No number is left, or a later run's: it does not take the folder back, nor remove what is not its own."""

    def sleep_while_another_comes_and_goes() -> None:
        with held(folder):
            (folder / "lock").remove("00000001.json")
            for number in later:
                put(folder, number, holder())
            threading.Event().wait(60)

    said = "process 4711 on node-7" if later else "another run that took it and has ended"
    with pytest.raises(FolderInUse, match=f"{said}.*this run was taken for dead"):
        sleep_while_another_comes_and_goes()
    assert (folder / "lock").names() == [f"{number:08d}.json" for number in later]


def test_a_record_is_not_written_by_who_was_taken_for_dead(folder, quick):
    """Who asks before writing is told; a folder that this process does not hold is nobody's affair."""
    still_held(folder)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held(folder) as mine:
            still_held(folder)
            put(folder, 2, holder())
            while not mine._lost:
                time.sleep(0.01)
            with pytest.raises(FolderInUse, match="taken for dead"):
                still_held(folder)
    finally:
        signal.signal(signal.SIGINT, before)


def test_people_are_told_whether_a_run_is_at_work(folder):
    """On this machine the kernel knows; of another's run its last heartbeat tells, and nonsense is no sign of life."""
    assert not is_held(folder, NOON)
    with held(folder):
        assert is_held(folder, NOON)
    put(folder, 1, holder(machine=lock._machine(), pid=os.getpid(), born=1))
    assert not is_held(folder, NOON)
    put(folder, 1, holder(alive="2026-01-01T11:59:30+00:00"))
    assert is_held(folder, NOON)
    put(folder, 1, holder(alive="2026-01-01T11:58:30+00:00"))
    assert not is_held(folder, NOON)
    put(folder, 1, holder(alive="lately"))
    assert not is_held(folder, NOON)


def test_of_many_at_once_one_wins(folder, quick, monkeypatch):
    """Whoever creates the number has it; the others find a holder that lives."""
    monkeypatch.setattr(lock, "_held", {})
    taken, refused, start = [], [], threading.Barrier(6)

    def take() -> None:
        start.wait()
        try:
            taken.append(lock._taken(folder, lambda line: None))
        except FolderInUse as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 5)
    assert (folder / "lock").read_json("00000001.json")["owner"] == taken[0]._holder.owner
    taken[0].release()


def test_creating_leaves_what_is_there(folder):
    """`create` writes once, whole, and says so."""
    assert folder.create("a/b", b"first")
    assert not folder.create("a/b", b"second")
    assert folder.read_bytes("a/b") == b"first"
    assert (folder / "a").names() == ["b"]
