"""A real Ray head with its job server on loopback, for tests: free ports, a token, a folder of its own.

It is started by `ray start --head --block` and stopped by the ids of the processes that it started, never by
`ray stop`, which would end every other Ray on the machine.
"""

from __future__ import annotations

import os
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_SECONDS = 180
#: Ports that two Rays on one machine would else share.
PORTS = (
    "port",
    "node-manager-port",
    "object-manager-port",
    "ray-client-server-port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


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


@contextmanager
def ray_head(cpus: int, environment: dict[str, str] | None = None) -> Iterator[RayHead]:
    """A head that answers; all its processes are ended and its folder removed at the end.

    Args:
        cpus: logical CPUs.
        environment: further variables of the head and of all jobs.

    Raises:
        RuntimeError: where it does not answer in time, with the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = token | {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
                   "--node-ip-address=127.0.0.1", "--include-dashboard=true", "--dashboard-host=127.0.0.1",
                   "--min-worker-port=0", "--max-worker-port=0", f"--num-cpus={cpus}",
                   f"--object-store-memory={200 << 20}", f"--temp-dir={folder}",
                   *(f"--{option}={port}" for option, port in ports.items())]  # fmt: skip
        clean = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
        with open(folder / "start.log", "wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
                env=clean | settings | (environment or {}),
            )  # fmt: skip
        head = RayHead(
            f"http://127.0.0.1:{ports['dashboard-port']}",
            f"127.0.0.1:{ports['port']}",
            folder,
            settings,
            process.pid,
        )
        try:
            _wait(head, process)
            yield head
        finally:
            _stop(head, process)


def _wait(head: RayHead, process: subprocess.Popen) -> None:
    request = urllib.request.Request(
        f"{head.address}/api/jobs/", headers={"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"}
    )
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    said = (head.folder / "start.log").read_text(errors="replace")[-3000:]
    raise RuntimeError(f"the Ray head did not answer within {START_SECONDS} s:\n{said}")


def _stop(head: RayHead, process: subprocess.Popen) -> None:
    family = head.processes()
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait(30)
    psutil.wait_procs(family, timeout=30)


def _family(pid: int, folder: Path) -> list[psutil.Process]:
    """The process, all below it, and whoever else names the head's folder on its command line."""
    found = {}
    try:
        top = psutil.Process(pid)
        found = {one.pid: one for one in [top, *top.children(recursive=True)]}
    except psutil.NoSuchProcess:
        pass
    for one in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in one.info["cmdline"] or []):
            found[one.pid] = one
    return list(found.values())


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
