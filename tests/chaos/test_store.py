"""Stores that fail, fill up, change or are shared: the run rides it out, or stops with what to do and then goes on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from relabel import lock
from relabel.errors import InputError, LedgerError
from relabel.storage import Folder
from tests.chaos.fault_proxy import TRANSIENT
from tests.chaos.scenes import done, driver, judged, meanwhile, options, settings, wait_for, write_table
from tests.jobs.stage_runs import shards_done

#: Share of the requests that a transient fault breaks; of those that read, where it is their answer's body. Eight tries
#: all fail once in 23 million requests, or once in 390,000.
SHARE, SHARE_OF_READS = 0.12, 0.2


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        pytest.param(
            kind, share, id=kind, marks=pytest.mark.chaos(fault=f"S3: {name}", injected=f"proxy, {share:.0%} of {what}")
        )
        for kind, name, share, what in (
            ("internal-error", "error 500", SHARE, "all requests"),
            ("slow-down", "503 SlowDown", SHARE, "all requests"),
            ("reset", "connection reset before the request was served", SHARE, "all requests"),
            ("reset-after", "connection reset after it was served", SHARE, "all requests"),
            ("truncated", "body that ends early", SHARE_OF_READS, "all GET requests"),
        )
    ],
)
def test_transient_faults_of_s3(cluster, faults, store, pairs, whole, make_pairs, tally, kind, share):
    """Input and output on S3: the run survives by itself, whatever request is broken."""
    assert kind in TRANSIENT
    write_table(store / "pairs", make_pairs)
    out = store / "out"
    faults.shares = {kind: share}
    judged(settings(store / "pairs", shard_rows=32), out)
    injected = faults.injected[kind]
    faults.quiet()
    assert injected >= 5
    tally.same_tables(whole, out)


@pytest.mark.chaos(
    fault="S3: credentials that expire", injected="proxy, ExpiredToken for everything from the eighth shard on"
)
def test_expired_credentials(cluster, faults, store, pairs, whole, make_pairs, troubled, tally):
    """The run stops at once and says what to set; with good credentials the same command goes on."""
    write_table(store / "pairs", make_pairs)
    troubled(pause=0.2)
    out = store / "out"

    def expire() -> None:
        faults.rule = lambda method, path: "expired"

    started = time.monotonic()
    with (
        pytest.raises(InputError, match=r"^s3://.*credentials that have expired.*set AWS_ACCESS_KEY_ID.*same command"),
        meanwhile(done(out, 8), expire),
    ):
        judged(settings(store / "pairs"), out)
    assert time.monotonic() - started < 90
    faults.quiet()
    assert 8 <= shards_done(out) < 30
    judged(settings(store / "pairs"), out)
    tally.same_tables(whole, out)


@pytest.mark.chaos(fault="disk full at commit", injected="a tmpfs of 1 MiB that a file fills but for 24 KiB")
def test_full_disk(cluster, pairs, whole, tmp_path, tally):
    """The error names the place and says to make room; after that the same command goes on."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        out, ballast = Folder(disk / "out"), disk / "ballast"
        ballast.write_bytes(b"x" * ((1 << 20) - (24 << 10)))
        with pytest.raises(InputError, match=r"No space left on device.*make room there and give the same command"):
            judged(settings(pairs), out)
        assert not out.exists("table.json")
        left = shards_done(out)
        ballast.unlink()
        log: list[str] = []
        judged(settings(pairs), out, log)
        assert not left or any(f"{left} of 30 shards are done already" in line for line in log)
        tally.same_tables(whole, out)


@pytest.mark.chaos(fault="input changed since the plan", injected="one part rewritten after the driver was killed")
def test_changed_input(cluster, pairs, whole, make_pairs, tmp_path, tally):
    """Refused with the part's name, before anything is done; with the right input again the run goes on."""
    mine, out, log = Folder(tmp_path / "pairs"), Folder(tmp_path / "out"), tmp_path / "log"
    write_table(mine, make_pairs)
    process = driver(options(settings(mine), out), log, {"pause": 0.3})
    wait_for(lambda: process.poll() is not None or shards_done(out) >= 5, "shards")
    process.kill()
    process.wait(30)
    part = Path(mine.uri) / "part-00002.parquet"
    before = part.read_bytes()
    pq.write_table(pq.read_table(part).slice(1), part)
    with pytest.raises(LedgerError, match=r"input that changed since it was planned: part-00002\.parquet of "):
        judged(settings(mine), out)
    assert not out.exists("table.json")
    part.write_bytes(before)
    judged(settings(mine), out)
    tally.same_tables(whole, out)


@pytest.mark.chaos(
    fault="input changed during the run", injected="one part rewritten after the plan, before its shards are read"
)
def test_input_that_changes_under_the_run(cluster, pairs, whole, make_pairs, tmp_path, troubled, tally):
    """No shard of the changed part is committed; with the right input again the run goes on."""
    mine, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_table(mine, make_pairs)
    troubled(pause=0.2)
    part = Path(mine.uri) / "part-00004.parquet"
    before, changed = part.read_bytes(), pq.read_table(part)
    texts = changed["text"].to_pylist()
    changed = changed.set_column(
        changed.schema.get_field_index("text"), "text", [[text.replace("word1", "other") for text in texts]]
    )

    def change() -> None:
        pq.write_table(changed.cast(pq.read_schema(part)), part)

    with (
        pytest.raises(LedgerError, match=r"input that changed since it was planned: part-00004\.parquet of "),
        meanwhile(lambda: out.exists("plan.json"), change),
    ):
        judged(settings(mine), out)
    assert not any(out.exists(f"markers/{shard:05d}.json") for shard in range(25, 30))
    part.write_bytes(before)
    judged(settings(mine), out)
    tally.same_tables(whole, out)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(
            "disk", marks=pytest.mark.chaos(fault="two runs in one folder", injected="two drivers, local disk")
        ),
        pytest.param("s3", marks=pytest.mark.chaos(fault="two runs in one folder on S3", injected="two drivers, S3")),
    ],
)
def test_two_runs(cluster, faults, store, pairs, whole, tmp_path, tally, place):
    """One of them works; the other is refused by exit code 7 and says who is at work."""
    out = store / "out" if place == "s3" else Folder(tmp_path / "out")
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    runs = [driver(options(settings(pairs), out), log, {"pause": 0.5}) for log in logs]
    codes = [run.wait(150) for run in runs]
    assert sorted(codes) == [0, 7], [log.read_text()[-2000:] for log in logs]
    winner, loser = (runs[codes.index(0)], logs[codes.index(7)].read_text())
    assert f"found another run at work in it, process {winner.pid} on " in loser
    assert f"stop it (`kill {winner.pid}` on" in loser
    assert not (out / "lock").names()
    tally.same_tables(whole, out)


@pytest.mark.chaos(
    fault="a run of another machine that died", injected="the lock of a machine that is no more, on S3, stands still"
)
def test_lock_of_a_dead_machine(cluster, faults, store, pairs, whole, monkeypatch, tally):
    """A holder of which nobody can tell whether it lives is watched; without a heartbeat it loses the folder."""
    out = store / "out"
    dead = lock.Holder("x", "node-7", 4711, "another machine", 1, "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:05")
    assert out.create("lock/00000004.json", lock.json.dumps(lock.asdict(dead)).encode())
    log: list[str] = []
    started = time.monotonic()
    judged(settings(pairs), out, log)
    assert lock.DEAD <= time.monotonic() - started < 90
    assert any("held by process 4711 on node-7" in line for line in log)
    tally.same_tables(whole, out)


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A real file system of that size; skips where this user may not mount one."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
