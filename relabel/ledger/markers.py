"""What was done with each shard: parts first, then the marker; which shards are finished; the books at the end.

`part-NNNNN.parquet`, `quarantine/part-NNNNN.parquet` and `markers/NNNNN.json` out. A marker counts where it is of this
task, its part lies there in the size that it names, and so does the quarantine that it counts. `markers/index/` holds
the same markers a thousand to a file, so that a run of a hundred thousand shards is resumed after a few hundred
requests; a marker that is not in the index is read by itself, and so is one whose copy in the index is not of the part
that lies there, since the shard may have been done again. The index is never believed about a marker that is not there.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from relabel.errors import InputError, LedgerError
from relabel.ledger.plan import Plan, Shard
from relabel.records import Scale
from relabel.storage import Folder, at_once, parquet_bytes
from relabel.tables import Manifest, write_manifest
from relabel.untrusted import record

INDEX = "markers/index"
QUARANTINED = "quarantine"
#: Markers of one file of the index.
INDEXED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Marker:
    """What was done with one shard; `facts` are counts to be summed over shards, JSON values only."""

    shard: int
    rows_in: int
    rows: int
    quarantined: int
    sha256: str
    bytes: int
    task_id: str
    busy_seconds: float
    started: float
    finished: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def worker(self) -> tuple[Any, Any, Any]:
        """Node, actor and process that did it, each None where unknown; an actor made again has another process."""
        worker = self.facts.get("worker") or {}
        return worker.get("node"), worker.get("actor"), worker.get("process")

    @property
    def quarantined_by_reason(self) -> dict[str, int]:
        """Its quarantined rows by reason, `unnamed` where the number alone is known."""
        reasons = self.facts.get("quarantined")
        found = reasons if isinstance(reasons, dict) else {"unnamed": self.quarantined}
        return {reason: rows for reason, rows in found.items() if rows}


#: Columns of an index file: a marker's fields, its facts as JSON.
INDEXED = pa.schema(
    [
        ("shard", pa.int64()),
        ("rows_in", pa.int64()),
        ("rows", pa.int64()),
        ("quarantined", pa.int64()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("task_id", pa.string()),
        ("busy_seconds", pa.float64()),
        ("started", pa.float64()),
        ("finished", pa.float64()),
        ("facts", pa.string()),
    ]
)


def part_name(shard: int) -> str:
    return f"part-{shard:05d}.parquet"


def marker_name(shard: int) -> str:
    return f"markers/{shard:05d}.json"


def quarantine_name(shard: int) -> str:
    return f"{QUARANTINED}/part-{shard:05d}.parquet"


def commit(
    out: Folder,
    shard: Shard,
    task_id: str,
    rows: pa.Table,
    quarantined: pa.Table,
    facts: dict[str, Any],
    started: float,
    finished: float,
) -> Marker:
    """Write a shard's parts, then its marker.

    Raises:
        LedgerError: where rows out + quarantined are not the rows in.
    """
    if rows.num_rows + quarantined.num_rows != shard.rows:
        raise LedgerError(
            f"{out.uri}: shard {shard.index}",
            f"{rows.num_rows} rows + {quarantined.num_rows} quarantined of {shard.rows} in",
            "every row accounted for",
        )
    if quarantined.num_rows:
        out.write_table(quarantine_name(shard.index), quarantined)
    data = parquet_bytes(rows)
    out.write_bytes(part_name(shard.index), data)
    marker = Marker(
        shard=shard.index,
        rows_in=shard.rows,
        rows=rows.num_rows,
        quarantined=quarantined.num_rows,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=data.size,
        task_id=task_id,
        busy_seconds=finished - started,
        started=started,
        finished=finished,
        facts=facts,
    )
    out.write_json(marker_name(shard.index), asdict(marker))
    return marker


class MarkerIndex:
    """Writes markers that were just committed into files of `INDEXED_AT_ONCE`; `flush` writes what is left."""

    def __init__(self, out: Folder):
        self._out, self._waiting = out, []

    def add(self, marker: Marker) -> None:
        self._waiting.append(marker)
        if len(self._waiting) == INDEXED_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Few markers stay files of their own: reading them costs less than an index of them."""
        if len(self._waiting) < INDEXED_AT_ONCE // 10:
            return
        rows = [asdict(marker) | {"facts": json.dumps(marker.facts)} for marker in self._waiting]
        name = f"{INDEX}/{self._waiting[0].shard:05d}-{uuid.uuid4().hex[:8]}.parquet"
        self._out.write_table(name, pa.Table.from_pylist(rows, schema=INDEXED))
        self._waiting = []


def finished_shards(out: Folder, plan: Plan) -> dict[int, Marker]:
    """Shard → marker of those shards that need not be done again: marker readable, of this task, its parts in place."""
    sizes = out.sizes("part-", ".parquet") | {
        f"{QUARANTINED}/{name}": size for name, size in (out / QUARANTINED).sizes("part-", ".parquet").items()
    }
    present = (out / "markers").names(suffix=".json")
    indexed = _indexed(out) if present else {}
    known = {name: indexed[name] for name in present if name in indexed and _holds(indexed[name], plan, sizes)}
    alone = [name for name in present if name not in known]
    for name, marker in zip(alone, at_once(lambda name: _read(out, f"markers/{name}"), alone), strict=True):
        if marker and f"markers/{name}" == marker_name(marker.shard) and _holds(marker, plan, sizes):
            known[name] = marker
    return {marker.shard: marker for _, marker in sorted(known.items())}


def _read(out: Folder, name: str) -> Marker | None:
    try:
        return record(Marker, out.read_json(name), name)
    except InputError:
        return None


def _indexed(out: Folder) -> dict[str, Marker]:
    """Name of the marker's file → marker, of all files of the index that can be read."""
    folder = out / INDEX
    names = folder.names(suffix=".parquet")
    files = at_once(lambda name: _index_file(folder, name), names)
    return {f"{marker.shard:05d}.json": marker for markers in files for marker in markers}


def _index_file(folder: Folder, name: str) -> list[Marker]:
    try:
        rows = folder.read_table(name).select(INDEXED.names).cast(INDEXED).to_pylist()
        return [record(Marker, row | {"facts": json.loads(row["facts"])}, name) for row in rows]
    except (InputError, KeyError, TypeError, ValueError):  # Arrow's errors are ValueErrors
        return []  # its markers are read one by one


def _holds(marker: Marker, plan: Plan, sizes: dict[str, int]) -> bool:
    return (
        marker.shard < len(plan.shards)
        and marker.task_id == plan.task_id
        and marker.rows_in == plan.shards[marker.shard].rows
        and sizes.get(part_name(marker.shard)) == marker.bytes
        and (not marker.quarantined or quarantine_name(marker.shard) in sizes)
    )


def reconcile(
    out: Folder, plan: Plan, markers: dict[int, Marker], kind: str, scale: Scale | None, about: dict[str, Any]
) -> Manifest:
    """Check that nothing was lost, then write the manifest that makes the table complete.

    Quarantine that no marker counts goes: a try that was cut before its marker may have left it, and the next one may
    have had nothing to set aside.

    Args:
        markers: of the finished shards, see `finished_shards`.

    Raises:
        LedgerError: for a shard without marker, or counts that do not add up.
    """
    missing = [shard.index for shard in plan.shards if shard.index not in markers]
    if missing:
        raise LedgerError(out.uri, f"{len(missing)} shards without a valid marker, e.g. {missing[:5]}", "all of them")
    rows, quarantined = (sum(getattr(marker, name) for marker in markers.values()) for name in ("rows", "quarantined"))
    if rows + quarantined != plan.rows:
        raise LedgerError(
            out.uri, f"{plan.rows} rows in, {rows} out, {quarantined} quarantined", "in = out + quarantined"
        )
    counted = {quarantine_name(index) for index, marker in markers.items() if marker.quarantined}
    for name in (out / QUARANTINED).names(suffix=".parquet"):
        if f"{QUARANTINED}/{name}" not in counted:
            out.remove(f"{QUARANTINED}/{name}")
    parts = [part_name(shard.index) for shard in plan.shards]
    manifest = Manifest(kind, plan.rows, rows, quarantined, parts, scale, about)
    write_manifest(out, manifest)
    return manifest
