"""A real Ray head with its job server on loopback, for tests: free ports, a token, a folder of its own.

It is started by `ray start --head --block` and stopped by the ids of the processes that it started, never by
`ray stop`, which would end every other Ray on the machine.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

START_SECONDS = 240
#: How often a head is started: Ray gives its parts 30 s to come up, which a busy machine exceeds; three minutes in all.
CHANCES = 6
#: Below the ports that Linux hands out, above those of Ray's workers.
QUIET = range(20_000, 32_000)
#: Patience of the parts that can be given more.
PATIENCE = {
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "200",
    "RAY_agent_register_timeout_ms": "200000",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "10",
}
#: Ports that two nodes on one machine would else share, and those that a head has besides.
NODE_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
PORTS = (*NODE_PORTS, "port", "ray-client-server-port", "dashboard-port")
STARTED = b"Ray runtime started"


@dataclass(frozen=True)
class RayHead:
    """A running head.

    Attributes:
        address: of the job server, `http://127.0.0.1:PORT`.
        gcs: `127.0.0.1:PORT`, what drivers and other nodes join.
        folder: Ray's sessions and logs.
        environment: what a client needs beside the address: the token, and this Python first.
        pid: of `ray start`.
    """

    address: str
    gcs: str
    folder: Path
    environment: dict[str, str]
    pid: int

    def processes(self) -> list[psutil.Process]:
        """Every process of this Ray: those below `ray start`, and those that the jobs left."""
        return _family(self.pid, self.folder)

    def said(self) -> str:
        """The ends of what its parts wrote, for the message of a test that failed."""
        logs = self.folder / "session_latest" / "logs"
        files = [
            *sorted(self.folder.glob("start*.log")),
            *(logs / name for name in ("raylet.out", "gcs_server.out", "dashboard.log")),
        ]
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in files if file.exists())


@contextmanager
def ray_head(cpus: int) -> Iterator[RayHead]:
    """A head that answers; all its processes are ended and its folder removed at the end.

    Args:
        cpus: logical CPUs.

    Raises:
        RuntimeError: where it does not come up, with the end of its output.
    """
    for chance in range(1, CHANCES + 1):
        with _started(cpus) as (head, failure):
            if failure is None:
                yield head
                return
            if chance == CHANCES:
                raise RuntimeError(f"the Ray head did not come up, {CHANCES} times:\n{failure}")


@contextmanager
def joined(head: RayHead, cpus: int) -> Iterator[None]:
    """A raylet more that has joined the head, on this machine; ended with what runs on it.

    Raises:
        RuntimeError: where it does not come up, with the end of its output and the head's.
    """
    for _ in range(CHANCES):
        with _joining(head, cpus) as came:
            if came:
                yield
                return
    raise RuntimeError(f"a Ray node did not join, {CHANCES} times:\n{head.said()}")


@contextmanager
def _joining(head: RayHead, cpus: int) -> Iterator[bool]:
    """A node and whether it came up. Its folder is its own, as on another machine: each node unpacks a job's working
    directory, and replaces what is there.
    """
    ports = dict(zip(NODE_PORTS, _free_ports(len(NODE_PORTS)), strict=True))
    folder = head.folder / f"node-{ports['node-manager-port']}"
    options = [f"--address={head.gcs}", f"--num-cpus={cpus}", f"--temp-dir={folder}"]
    options += [f"--{name}={port}" for name, port in ports.items()]
    log = head.folder / f"start-{folder.name}.log"
    process = _ray_start(options, log, head.environment)
    try:
        end = time.monotonic() + START_SECONDS
        while (waiting := STARTED not in log.read_bytes()) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        yield not waiting
    finally:
        _stop(_family(process.pid), process)


def _ray_start(options: list[str], log: Path, settings: dict[str, str]) -> subprocess.Popen:
    """`ray start`, which stays until its node is gone."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
               "--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0",
               f"--object-store-memory={200 << 20}", *options]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
    with open(log, "wb") as stream:
        return subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=log.parent, start_new_session=True,
            env=clean | settings | PATIENCE,
        )  # fmt: skip


@contextmanager
def _started(cpus: int) -> Iterator[tuple[RayHead, str | None]]:
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = token | {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
        options = ["--head", "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--num-cpus={cpus}",
                   f"--temp-dir={folder}", *(f"--{option}={port}" for option, port in ports.items())]  # fmt: skip
        process = _ray_start(options, folder / "start.log", settings)
        head = RayHead(
            f"http://127.0.0.1:{ports['dashboard-port']}",
            f"127.0.0.1:{ports['port']}",
            folder,
            settings,
            process.pid,
        )
        try:
            yield head, None if _answers(head, process) else head.said()
        finally:
            _stop(head.processes(), process)


def _answers(head: RayHead, process: subprocess.Popen) -> bool:
    request = urllib.request.Request(
        f"{head.address}/api/jobs/", headers={"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"}
    )
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        started = STARTED in (head.folder / "start.log").read_bytes()
        try:
            # The job server may answer while the head's other parts come up, or fail to.
            with urllib.request.urlopen(request, timeout=10):
                if started:
                    return True
                time.sleep(0.5)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _stop(family: list[psutil.Process], process: subprocess.Popen) -> None:
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait(30)
    psutil.wait_procs(family, timeout=30)


def _family(pid: int, folder: Path | None = None) -> list[psutil.Process]:
    """The process, whoever else names the head's folder, where one is given, on its command line; all below them."""
    everyone = list(psutil.process_iter(["cmdline", "ppid"]))
    found = {one.pid: one for one in everyone if one.pid == pid or (folder and _names(one, str(folder)))}
    while below := [one for one in everyone if one.pid not in found and one.info["ppid"] in found]:
        found |= {one.pid: one for one in below}
    return list(found.values())


def _names(process: psutil.Process, text: str) -> bool:
    return any(text in word for word in process.info["cmdline"] or [])


def _free_ports(count: int) -> list[int]:
    """Ports that nobody holds, out of those that the system gives to nobody by itself: some are used a minute later."""
    found: list[int] = []
    for port in random.SystemRandom().sample(QUIET, len(QUIET)):
        with socket.socket() as one, suppress(OSError):
            one.bind(("0.0.0.0", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} free ports in {QUIET}")
