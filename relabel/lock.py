"""One run at a time in a folder, on local disk and on S3, freed soon after its holder dies and decided by no clock.

A lock is a file `lock/NNNNNNNN.json` that says who holds it and counts heartbeats. To take one is to create the next
number, which a store lets only one do. Who finds a holder does not compare clocks, which may jump and differ: on the
holder's own machine the kernel tells whether its process lives; elsewhere the file is watched, and a holder whose
count stands still for `DEAD` seconds is dead. A holder that was taken for dead and was not (its machine slept) finds
another's number, or none since the other has ended, at its next heartbeat and stops. Shards that both wrote meanwhile
are the same, since a shard's rows are a function of the shard alone; whoever keeps records asks first (`still_held`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from relabel.errors import FolderInUse, InputError
from relabel.storage import Folder
from relabel.storage_errors import is_missing
from relabel.untrusted import record

#: Seconds between two heartbeats, and without one after which a holder on another machine counts as dead.
BEAT, DEAD = 5.0, 20.0
#: Seconds between two looks at a holder.
LOOK = 1.0
#: Seconds since its last heartbeat for which people are told that a run on another machine is at work.
SHOWN = 60.0


@dataclass
class Holder:
    """Who holds a folder.

    Attributes:
        owner: made up for each taking.
        host, pid: for people.
        machine: boot and process namespace, None where the system does not tell.
        born: the process's start in the kernel's ticks, which tells it from a later one with its number.
        since, alive: by the holder's own clock, for people.
        beats: heartbeats so far.
    """

    owner: str
    host: str
    pid: int
    machine: str | None
    born: int | None
    since: str
    alive: str
    beats: int = 0

    @classmethod
    def here(cls) -> Holder:
        pid, now = os.getpid(), _now()
        return cls(uuid.uuid4().hex, socket.gethostname(), pid, _machine(), _born(pid), now, now)

    @property
    def lives(self) -> bool | None:
        """Whether its process lives; None where that cannot be told from here."""
        if self.machine is None or self.machine != _machine():
            return None
        return self.born is not None and _born(self.pid) == self.born


class Lock:
    """A folder that this process holds; made by `held`."""

    def __init__(self, folder: Folder, generation: int, holder: Holder, made_folder: bool):
        self.folder, self._places, self._made_folder = folder, folder / "lock", made_folder
        self._generation, self._holder = generation, holder
        self._stop, self._lost = threading.Event(), False
        self._in_main = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    @property
    def owner(self) -> str:
        return self._holder.owner

    def check(self) -> None:
        """Raises FolderInUse where another run has taken the folder since."""
        if self._lost:
            number, found = _newest(self._places)
            if not number:
                raise FolderInUse(
                    self.folder.uri,
                    "another run that took it and has ended; this run was taken for dead, e.g. since its machine slept",
                    "one run at a time in a folder",
                    "give the same command again: what the other finished is kept",
                )
            raise _in_use(self.folder, found, "this run was taken for dead, e.g. since its machine slept")

    def release(self) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(InputError):
            lost, mine = self._is_anothers(), _name(self._generation)
            for name in self._places.names(suffix=".json"):
                with suppress(InputError):  # another removes old ones as well
                    if self._is_mine(name) if lost else name <= mine:
                        self._places.remove(name)
        if self.folder.is_local:
            with suppress(OSError):  # a folder with files in it stays
                os.rmdir(self._places.uri)
                if self._made_folder:
                    os.rmdir(self.folder.uri)

    def _is_mine(self, name: str) -> bool:
        holder = _holder(self._places, name)
        return holder is not None and holder.owner == self.owner

    def _is_anothers(self) -> bool:
        """Whether another run has taken the folder since; that one may have ended, and its number be gone or ours."""
        number, holder = _newest(self._places)
        return number != self._generation or (holder is not None and holder.owner != self.owner)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            self._holder.beats += 1
            self._holder.alive = _now()
            try:
                if self._is_anothers():
                    self._lost = True
                    if self._in_main:
                        _interrupt_main_thread()
                    return
                self._places.write_json(_name(self._generation), asdict(self._holder))
            except InputError:  # a store that is away is away for others as well
                continue


#: What this process holds, and the owners under which it held something before: a store may refuse to remove a lock.
_held: dict[str, Lock] = {}
_given_back: set[str] = set()


@contextmanager
def held(folder: Folder, log: Callable[[str], None] = print) -> Iterator[Lock]:
    """Hold `folder` for this process while the block runs; inside another block of the same folder nothing changes.

    Raises:
        FolderInUse: where another run holds it, or has taken it meanwhile.
    """
    if folder.uri in _held:
        yield _held[folder.uri]
        return
    lock = _taken(folder, log)
    _held[folder.uri] = lock
    try:
        yield lock
    except KeyboardInterrupt:
        lock.check()  # our own heartbeat interrupts the main thread where the lock is lost
        raise
    finally:
        del _held[folder.uri]
        _given_back.add(lock.owner)
        lock.release()


def still_held(folder: Folder) -> None:
    """Raises FolderInUse where this process held `folder` and another run has taken it; to be asked before a record of
    the whole folder is written anew."""
    if folder.uri in _held:
        _held[folder.uri].check()


def is_held(folder: Folder, now: float) -> bool:
    """Whether a run is at work in `folder`, for people: of one on another machine its last sign of life decides, by the
    clock of that machine and `now`, Unix seconds of this one."""
    holder = _newest(folder / "lock")[1]
    if holder is None or holder.lives is not None:
        return holder is not None and holder.lives is True
    try:
        return now - datetime.fromisoformat(holder.alive).timestamp() < SHOWN
    except ValueError:
        return False


def _taken(folder: Folder, log: Callable[[str], None]) -> Lock:
    places, me, made_folder = folder / "lock", Holder.here(), not folder.exists()
    while True:
        generation, holder = _newest(places)
        if generation:
            _wait_until_dead(folder, generation, holder, log)
        places.create(_name(generation + 1), json.dumps(asdict(me)).encode())
        newest, holder = _newest(places)  # not what `create` said: a store may have done it and lost its answer
        if holder and holder.owner == me.owner:
            for older in places.names(suffix=".json"):
                if older < _name(newest):
                    places.remove(older)
            return Lock(folder, newest, me, made_folder)


def _wait_until_dead(folder: Folder, generation: int, holder: Holder | None, log: Callable[[str], None]) -> None:
    """Returns once that holder is dead or gone.

    Raises:
        FolderInUse: where it, or another, gives a sign of life.
    """
    if holder and holder.owner in _given_back:
        return
    lives = holder.lives if holder else None
    if lives:
        raise _in_use(folder, holder)
    if lives is False:
        log(f"{folder.uri}: the run of process {holder.pid} ended without freeing it; going on")
        return
    log(f"{folder.uri}: held by {_described(holder)}; waiting {DEAD:.0f} s for a sign of life")
    end = time.monotonic() + DEAD
    while time.monotonic() < end:
        time.sleep(LOOK)
        now = _newest(folder / "lock")
        if not now[0]:
            return
        if now != (generation, holder):
            raise _in_use(folder, now[1])


def _in_use(folder: Folder, holder: Holder | None, why: str = "") -> FolderInUse:
    stop = f"`kill {holder.pid}` on {holder.host}" if holder else "its process"
    return FolderInUse(
        folder.uri,
        f"another run at work in it, {_described(holder)}" + (f"; {why}" if why else ""),
        "one run at a time in a folder",
        f"let it end, or stop it ({stop}), and give the same command again; a dead run's folder is free "
        f"within {DEAD:.0f} s",
    )


def _described(holder: Holder | None) -> str:
    if holder is None:
        return "which does not say who it is"
    return f"process {holder.pid} on {holder.host} since {holder.since}, last sign of life {holder.alive}"


def _newest(places: Folder) -> tuple[int, Holder | None]:
    """The highest number, 0 where there is none, and its holder, None where that is not readable."""
    numbers = [int(name[:-5]) for name in places.names(suffix=".json") if name[:-5].isdecimal()]
    if not numbers:
        return 0, None
    try:
        return max(numbers), _holder(places, _name(max(numbers)))
    except InputError as error:
        if is_missing(error):  # freed meanwhile
            return 0, None
        raise


def _holder(places: Folder, name: str) -> Holder | None:
    """Who says in a lock that it is theirs, None where that is not readable."""
    try:
        values = places.read_json(name)
    except InputError as error:
        if "no JSON" in error.found:
            return None
        raise
    try:
        return record(Holder, values, f"{places.uri}/{name}")
    except InputError:
        return None


def _interrupt_main_thread() -> None:
    """As Ctrl-C does, also out of a call that blocks, which `_thread.interrupt_main` would let end first."""
    if callable(signal.getsignal(signal.SIGINT)):  # where SIGINT is ignored, the next `check` tells
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def _name(generation: int) -> str:
    return f"{generation:08d}.json"


def _machine() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _born(pid: int) -> int | None:
    """When a process started, in ticks since boot; None where there is none, or it is dead and not buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
