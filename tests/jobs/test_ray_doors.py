"""The doctor's look at Ray's ports and settings, with real sockets and a real little job server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from jobs.ray_doors import AGENT, ASKED, Door, concerns, doors
from jobs.ray_doors import JOB_SERVER as JOBS


@contextmanager
def listening(address: str, status: int, body: bytes = b"[]", what: str = JOBS) -> Iterator[int]:
    """A server that answers a request for the list of jobs as Ray's does: with the list, or refusing it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == ASKED[what] else 404)
            if status == 405:
                self.send_header("Allow", "POST")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    class Server(HTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    with Server((address, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_job_server_open_to_the_world_is_a_warning(address):
    """Listening on all addresses and answering without a token: a warning that says what to set."""
    with listening(address, 200) as port:
        (concern,) = concerns({port: JOBS}, {}, {})
    assert concern[0] == "warning"
    assert f"{address}:{port} and asks for no token: who reaches this machine can run code on it" in concern[1]
    assert "RAY_AUTH_MODE=token" in concern[1]


@pytest.mark.parametrize(
    ("address", "status", "state", "words"),
    [
        ("0.0.0.0", 401, "note", "with a token, but in clear text"),
        ("0.0.0.0", 404, "note", "for other machines"),
        ("127.0.0.1", 200, "note", "every user of this machine can run code as you"),
        ("127.0.0.1", 403, "ok", "no Ray port here is open to other machines"),
        ("::1", 403, "ok", "no Ray port here is open to other machines"),
    ],
)
def test_a_door_is_judged_by_its_address_and_its_answer(address, status, state, words):
    """Only an answer without a token is open; only another address than loopback is the world."""
    with listening(address, status) as port:
        (concern,) = concerns({port: JOBS}, {}, {})
    assert concern[0] == state
    assert words in concern[1]


def test_a_long_list_of_jobs_is_an_open_door():
    """A head that ran thousands of jobs: its first byte is enough."""
    with listening("0.0.0.0", 200, b"[" + b'{"entrypoint": "relabel run"},' * 100_000) as port:
        (concern,) = concerns({port: JOBS}, {}, {})
    assert concern[0] == "warning"


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (405, "warning", "agent, a node's own job server, listens on 0.0.0.0:"),
        (401, "note", "with a token, but in clear text"),
        (404, "note", "for other machines"),
    ],
)
def test_a_nodes_agent_takes_jobs_as_well(status, state, words):
    """It has no list to show; where it says that it only takes new jobs, it asked for no token."""
    with listening("0.0.0.0", status, b"", AGENT) as port:
        (concern,) = concerns({port: AGENT}, {}, {})
    assert concern[0] == state
    assert words in concern[1]


def test_a_server_is_known_by_its_process_on_any_port():
    """Whatever the port: the process that holds the socket is told by its command line."""
    code = "import socket, sys; it = socket.create_server(('127.0.0.1', 0)); print(it.getsockname()[1], flush=True)"
    code += "; sys.stdin.read()"
    command = [sys.executable, "-c", code, "ray/dashboard/not-the-real-one"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        assert doors({}, {"ray/dashboard/not-the-real-one": JOBS}) == [Door("127.0.0.1", port, JOBS)]
        server.stdin.close()


def test_a_socket_that_does_not_listen_is_no_door():
    """A connection that uses such a port, and one that is closed, are not taken for a server."""
    with listening("127.0.0.1", 200) as port, socket.create_connection(("127.0.0.1", port)) as client:
        assert [door.port for door in doors({port: JOBS}, {})] == [port]
        assert doors({client.getsockname()[1]: JOBS}, {}) == []
    assert doors({port: JOBS}, {}) == []


@pytest.mark.parametrize(
    ("environment", "warned"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE=disabled"),
        (
            {"RAY_ADDRESS": "http://ray.cluster.internal:8265"},
            "another machine (ray.cluster.internal) and there is no token",
        ),
        ({"RAY_ADDRESS": "10.1.2.3:6379"}, "another machine (10.1.2.3)"),
        ({"RAY_ADDRESS": "10.1.2.3:6379", "RAY_AUTH_TOKEN": "t" * 32}, None),
        ({"RAY_ADDRESS": "http://localhost:8265"}, None),
        ({"RAY_ADDRESS": "auto", "RAY_AUTH_MODE": "token"}, None),
    ],
)
def test_settings_that_leave_the_door_open_are_warnings(environment, warned):
    """No token for another machine's cluster, or tokens switched off; and no token is ever printed."""
    found = [what for state, what in concerns({}, {}, environment) if state == "warning"]
    if warned:
        assert warned in " ".join(found)
    else:
        assert found == []
    assert "t" * 32 not in " ".join(found)


def test_the_doctor_says_it(capsys, monkeypatch):
    """`relabel doctor` shows the warning and counts it; it is nothing that is missing."""
    from jobs.cli import main

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    code = main(["doctor"])
    printed = capsys.readouterr().out
    assert " warning  RAY_AUTH_MODE=disabled" in printed
    assert "to worry about" in printed.splitlines()[-1]
    assert code == (2 if " missing  " in printed else 0)
