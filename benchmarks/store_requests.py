"""Requests to an S3 server: how many a shard of a sharded stage takes, counted between the client and a real server.

    python -m benchmarks.store_requests

A relay counts the HTTP requests that pass through it, by method, while the ledger's own functions plan a stage over
8 parts of 4,096 rows, read and commit its 8 shards, scan for finished ones and reconcile. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from relabel.hardware import facts
from relabel.ledger import commit, content_fingerprint, finished_shards, plan_stage, read_shard, reconcile
from relabel.records import JUDGEMENTS, QUARANTINE, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter
from tests.s3_server import s3_server

SHARDS, ROWS = 8, 4_096
REQUEST = re.compile(rb"(?:^|\r\n|\n)(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP/1\.1\r\n")
SCALE = Scale((0, 1), 1)


class Relay:
    """Passes bytes between clients and a server on loopback, and counts the requests in them."""

    def __init__(self, port: int):
        self._target, self.counts = port, Counter()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, target, counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, target, counted), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(1 << 20):
                if counted:
                    for method, path in REQUEST.findall(data):
                        listing = method == b"GET" and b"list-type" in path
                        self.counts["LIST" if listing else method.decode()] += 1
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def taken(self) -> Counter:
        """The requests since the last call."""
        found, self.counts = self.counts, Counter()
        return found

    def close(self) -> None:
        self._listener.close()


@contextmanager
def counted_server() -> Iterator[tuple[Relay, str]]:
    """A relay in front of a server, with the environment pointing at it, and a bucket's address."""
    with s3_server() as server:
        relay = Relay(int(server.endpoint.rpartition(":")[2]))
        os.environ |= server.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}"}
        try:
            yield relay, f"s3://{server.bucket}/requests"
        finally:
            relay.close()


def pairs_table(rows: int) -> pa.Table:
    """Pairs with a passage of 60 words each."""
    from relabel.records import PAIRS

    filled = {
        "query_id": [f"q{row // 100}" for row in range(rows)],
        "doc_id": [f"d{row}" for row in range(rows)],
        "query": [f"what is number {row // 100}" for row in range(rows)],
        "title": [""] * rows,
        "text": [f"{row} " + "some words of a passage that is long enough " * 7 for row in range(rows)],
        "label": [0.0] * rows,
        "label_source": ["given"] * rows,
    }
    columns = [filled.get(field.name) or pa.nulls(rows, field.type) for field in PAIRS]
    return pa.table(columns, schema=PAIRS)


def judgements_of(pairs: pa.Table) -> pa.Table:
    """A judgement for each pair."""
    rows = pairs.num_rows
    filled = {
        "grade": pa.array([0] * rows, pa.int32()),
        "score": [0.1] * rows,
        "probabilities": [[0.9, 0.1]] * rows,
        "logprobs": [[-0.1, -2.3]] * rows,
        "off_label_mass": [0.0] * rows,
        "prompt_tokens": pa.array([90] * rows, pa.int32()),
        "truncated": [False] * rows,
        "judge_id": ["none"] * rows,
    }
    return pa.table([filled.get(f.name, pairs[f.name] if f.name in pairs.column_names else None) for f in JUDGEMENTS],
                    schema=JUDGEMENTS)  # fmt: skip


def main() -> None:
    """Count, print, and print JSON."""
    found: dict[str, dict[str, float]] = {}
    with counted_server() as (relay, address):
        pairs, out = Folder(address) / "pairs", Folder(address) / "out"
        writer = TableWriter(pairs, "pairs", SCALE, part_rows=ROWS)
        writer.write(pairs_table(SHARDS * ROWS))
        writer.finish()
        relay.taken()
        plan = plan_stage(pairs, out, "counted", ROWS)
        found["plan, a part"] = relay.taken()
        finished_shards(out, plan)
        found["first scan, in all"] = relay.taken()
        tables = [read_shard(pairs, shard) for shard in plan.shards]
        for shard in plan.shards:  # a reader looks whether the parts are still those of the plan
            content_fingerprint(pairs, shard.segments[0].part)
        found["read, a shard"] = relay.taken()
        for shard, table in zip(plan.shards, tables, strict=True):
            commit(out, shard, "counted", judgements_of(table), QUARANTINE.empty_table(), {}, 0.0, 1.0)
        found["commit, a shard"] = relay.taken()
        finished_shards(out, plan)
        found["scan, a finished shard"] = relay.taken()
        reconcile(out, plan, finished_shards(out, plan), "judgements", SCALE, {})
        found["last check, a shard"] = relay.taken()
    each = {
        name: {method: round(number / (1 if "in all" in name else SHARDS), 2) for method, number in counts.items()}
        for name, counts in found.items()
    }
    result = {"benchmark": "store_requests", "shards": SHARDS, "rows": ROWS, "requests": each, "machine": facts()}
    print("\n".join(shown(each)))
    print(json.dumps(result))


def shown(requests: dict[str, dict[str, float]]) -> list[str]:
    """A line for each thing that makes requests: how many of which method."""
    return [
        f"{what}: {', '.join(f'{number:g} {method}' for method, number in sorted(counts.items())) or 'none'}"
        for what, counts in requests.items()
    ]


if __name__ == "__main__":
    main()
