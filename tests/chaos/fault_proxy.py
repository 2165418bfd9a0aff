"""An HTTP proxy in front of the real S3 server that breaks answers as a cloud store does, by a seeded schedule.

Requests are passed on with the Host header that the client signed, so signatures stay valid. A fault is drawn for each
request from `Faults.shares`; rules by path come first. What was injected is counted by kind, so that a test can tell
that a fault happened.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: Faults that pass by themselves when the request is made again.
TRANSIENT = ("internal-error", "slow-down", "reset", "reset-after", "truncated")
_ANSWERS = {
    "internal-error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow-down": (503, "SlowDown", "Please reduce your request rate."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
}
#: Headers of one hop only.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass
class Faults:
    """What the proxy does to requests; may be changed while it runs.

    Attributes:
        shares: fault → share of the requests that get it.
        rule: called with (method, path) of each request first; a fault's name or None.
        injected: fault → how often it was injected.
    """

    seed: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    rule: Callable[[str, str], str | None] | None = None
    injected: Counter = field(default_factory=Counter)

    def __post_init__(self):
        self._random, self._lock = random.Random(self.seed), threading.Lock()

    def quiet(self) -> None:
        """From now on nothing is broken, and counting starts anew."""
        with self._lock:
            self.shares, self.rule, self.injected = {}, None, Counter()

    def draw(self, method: str, path: str) -> str | None:
        with self._lock:
            fault = self.rule(method, path) if self.rule else None
            if fault is None and self.shares:
                chance, kinds = self._random.random(), self.shares
                for kind, share in kinds.items():
                    chance -= share
                    if chance < 0:
                        fault = kind
                        break
            return fault

    def count(self, fault: str) -> None:
        with self._lock:
            self.injected[fault] += 1


@contextmanager
def fault_proxy(target: str, faults: Faults) -> Iterator[str]:
    """A running proxy for `target` (`http://host:port`); yields its own address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.target, server.faults = urlsplit(target).netloc, faults
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    target: str
    faults: Faults

    def handle_error(self, request, client_address):
        """Connections that we cut ourselves are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments) -> None:
        pass

    def _pass(self) -> None:
        body = self._body()
        faults: Faults = self.server.faults
        fault = faults.draw(self.command, self.path)
        if fault == "reset":
            faults.count(fault)
            return self._cut()
        if fault in _ANSWERS:
            faults.count(fault)
            return self._refuse(*_ANSWERS[fault])
        status, headers, data = self._ask(body)
        if fault == "reset-after":  # the store did it, and the client never hears of it
            faults.count(fault)
            return self._cut()
        short = fault in ("truncated", "short") and self.command == "GET" and status in (200, 206) and len(data) > 1
        if short:
            faults.count(fault)
        self._answer(status, headers, data, data[: len(data) // 2] if short else data, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP | {"expect"}:
                    connection.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, sent: bytes, fault: str | None) -> None:
        """`truncated` promises the whole length and sends half; `short` is half a body that looks whole."""
        self.send_response_only(status)
        length = None
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in _HOP:
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", length or "0")
        elif status not in (204, 304):
            self.send_header("Content-Length", str(len(sent) if fault == "short" else len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
        if fault == "truncated" and len(sent) < len(data):
            self._cut()

    def _refuse(self, status: int, code: str, text: str) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def _cut(self) -> None:
        """End the connection by a reset, not by a polite close."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
