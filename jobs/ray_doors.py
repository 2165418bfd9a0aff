"""Whether somebody else can run code here: Ray's ports that listen to the world, and settings that leave them unlocked.

Who reaches a Ray cluster's job server without a token runs any command on it; besides the head's there is one in the
agent of every node. So a port is judged by asking it: where a token is not asked for, a new job would have been taken.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

JOB_SERVER, AGENT = "dashboard and job server", "agent, a node's own job server,"
#: Ports that Ray takes where nothing else is said.
PORTS = {8265: JOB_SERVER, 52365: AGENT, 10001: "Ray Client", 6379: "control store", 8076: "object manager"}
#: What stands in the command line of the processes that hold them, wherever they listen. A raylet's own holds those of
#: the agents that it starts, so it comes first.
PROCESSES = {
    "core/src/ray/raylet/raylet": "raylet",
    "ray/dashboard/dashboard.py": JOB_SERVER,
    "ray/dashboard/agent.py": AGENT,
    "runtime_env/agent/main.py": "agent of runtime environments",
    "ray.util.client.server": PORTS[10001],
    "core/src/ray/gcs/gcs_server": PORTS[6379],
}
#: What takes jobs → what it is asked. The head answers with a list of jobs; an agent takes new ones there, and nothing
#: else.
ASKED = {JOB_SERVER: "/api/jobs/", AGENT: "/api/job_agent/jobs/"}
LISTEN, ANSWER_SECONDS = "0A", 5
NETWORK = Path("/proc/net")
LOCK = "set RAY_AUTH_MODE=token where the cluster starts, and start it with --dashboard-host=127.0.0.1"
Concern = tuple[Literal["ok", "note", "warning"], str]


class Door(NamedTuple):
    """A listening TCP socket of Ray's."""

    address: str
    port: int
    what: str

    @property
    def reachable(self) -> bool:
        """Whether other machines may reach it."""
        return not ipaddress.ip_address(self.address).is_loopback


def concerns(
    ports: Mapping[int, str] = PORTS,
    processes: Mapping[str, str] = PROCESSES,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Concern]:
    """What is to be said of this machine's Ray, worst or not; nothing but one `ok` where all is locked.

    Args:
        ports: port → what Ray has there, whoever listens.
        processes: part of a command line → what such a process listens for, on whatever port.
        environment: variables that a job here would start with.
    """
    found = [*_of_doors(doors(ports, processes)), *_of_settings(environment)]
    yield from found or [("ok", "no Ray port here is open to other machines")]


def doors(ports: Mapping[int, str] = PORTS, processes: Mapping[str, str] = PROCESSES) -> list[Door]:
    """Sockets that listen on one of `ports`, or that one of `processes` holds."""
    owners = _owners(processes)
    found = []
    for name in ("tcp", "tcp6"):
        for address, port, inode in _listening(NETWORK / name):
            what = owners.get(inode) or ports.get(port)
            if what:
                found.append(Door(address, port, what))
    return sorted(set(found))


def _of_doors(found: list[Door]) -> Iterator[Concern]:
    for door in found:
        where = f"Ray's {door.what} listens on {door.address}:{door.port}"
        locked = _locked(door) if door.what in ASKED else None
        if door.reachable and locked is False:
            yield "warning", f"{where} and asks for no token: who reaches this machine can run code on it; {LOCK}"
        elif door.reachable:
            word = "with a token, but in clear text" if locked else "for other machines"
            yield "note", f"{where}, {word}: keep it inside a network that you trust (firewall, security group)"
        elif locked is False:
            yield "note", f"{where} and asks for no token: every user of this machine can run code as you; {LOCK}"


def _of_settings(environment: Mapping[str, str]) -> Iterator[Concern]:
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        yield "warning", "RAY_AUTH_MODE=disabled: a Ray that is started here asks nobody for a token; unset it"
    host = _host(environment.get("RAY_ADDRESS", ""))
    if host and not _is_here(host):
        token = environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH")
        home = environment.get("HOME", "")
        if mode == "disabled" or not (token or (home and (Path(home) / ".ray" / "auth_token").exists())):
            yield (
                "warning",
                f"RAY_ADDRESS is another machine ({host}) and there is no token: nobody else needs one; {LOCK}",
            )


def _locked(door: Door) -> bool | None:
    """Whether what takes jobs refuses who has no token; None where it does not answer like one."""
    host = door.address if not ipaddress.ip_address(door.address).is_unspecified else "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        address = f"http://{host}:{door.port}{ASKED[door.what]}"
        with without_proxy.open(address, timeout=ANSWER_SECONDS) as answer:
            return None if answer.read(1) != b"[" else False  # the list of jobs may be long
    except urllib.error.HTTPError as error:
        if error.code == 405 and "POST" in error.headers.get("Allow", "") and door.what == AGENT:
            return False
        return True if error.code in (401, 403) else None
    except (OSError, http.client.HTTPException):
        return None


def _host(address: str) -> str:
    if address in ("", "auto", "local"):
        return ""
    return urlsplit(address if "://" in address else f"ray://{address}").hostname or ""


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(table: Path) -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of every listening socket in one of the kernel's tables."""
    if not table.exists():
        return
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN:
            address, port = fields[1].split(":")
            yield _address(address), int(port, 16), fields[9]


def _address(hexadecimal: str) -> str:
    """An address as the kernel's tables have it: 32-bit words, each with its bytes turned round."""
    words = [bytes.fromhex(hexadecimal[at : at + 8])[::-1] for at in range(0, len(hexadecimal), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _owners(processes: Mapping[str, str]) -> dict[str, str]:
    """Inode of a socket → what listens there, for those processes that this user may look into."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            what = next((what for part, what in processes.items() if part in line), None)
            if what:
                for descriptor in (process / "fd").iterdir():
                    target = os.readlink(descriptor)
                    if target.startswith("socket:["):
                        found[target[8:-1]] = what
        except OSError:
            continue
    return found
