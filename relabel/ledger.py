"""Shards, markers, resume and the final reconciliation: what makes a stage survive anything and lose nothing.

A stage over a pairs table is planned once: `plan.json` fixes the shards as row ranges of the input parts. A shard's
rows are committed as `part-NNNNN.parquet` (and `quarantine/part-NNNNN.parquet`), then its marker `markers/NNNNN.json`
is written. A shard with a valid marker is never done again. At the end rows in = rows out + quarantined is checked
over all shards, no key may appear twice, and only then is the table's manifest written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relabel.errors import InputError, LedgerError
from relabel.records import KEY, PAIRS, Scale, checked
from relabel.storage import Folder, parquet_bytes
from relabel.tables import Manifest, read_manifest, write_manifest

PLAN = "plan.json"
#: Bytes at a Parquet file's end that hold its footer; with the size they tell one content from another.
FOOTER_BYTES = 65_536


@dataclass(frozen=True)
class Segment:
    """Rows `start` (inclusive) to `stop` (exclusive) of one input part."""

    part: str
    start: int
    stop: int


@dataclass(frozen=True)
class Shard:
    """The unit of work: a fixed range of rows, possibly over several small parts."""

    index: int
    segments: tuple[Segment, ...]

    @property
    def rows(self) -> int:
        return sum(segment.stop - segment.start for segment in self.segments)

    @property
    def source(self) -> str:
        """`file:row` of the first row, for messages and quarantine."""
        return f"{self.segments[0].part}:{self.segments[0].start}"


@dataclass(frozen=True)
class Plan:
    """What a stage will do, written down once.

    Attributes:
        input_uri: the pairs table.
        inputs: part → fingerprint of its content.
        task_id: what is done to the rows (a judge id, a rule's hash); a plan of another task is refused.
        shard_rows: rows a shard at most.
    """

    input_uri: str
    inputs: dict[str, str]
    task_id: str
    shard_rows: int
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


@dataclass(frozen=True)
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


def part_name(shard: int) -> str:
    return f"part-{shard:05d}.parquet"


def marker_name(shard: int) -> str:
    return f"markers/{shard:05d}.json"


def quarantine_name(shard: int) -> str:
    return f"quarantine/part-{shard:05d}.parquet"


def plan_stage(pairs: Folder, out: Folder, task_id: str, shard_rows: int) -> Plan:
    """The plan of a stage: the one written down in `out`, or a new one that is written now.

    Raises:
        LedgerError: where `out` holds a plan of another task, or the input changed since it was planned.
        InputError: where a key appears twice in the input.
    """
    manifest = read_manifest(pairs, "pairs")
    inputs = {part: content_fingerprint(pairs, part) for part in manifest.parts}
    if out.exists(PLAN):
        plan = read_plan(out)
        if plan.task_id != task_id:
            raise LedgerError(out.uri, f"a plan of {plan.task_id}", f"one of {task_id}", "choose another output folder")
        if plan.inputs != inputs:
            changed = sorted(name for name in {*plan.inputs, *inputs} if plan.inputs.get(name) != inputs.get(name))
            raise changed_input(out.uri, pairs, changed)
        return plan
    rows = {part: _part_rows(pairs, part) for part in manifest.parts}
    duplicate = duplicate_key(pairs, manifest.parts)
    if duplicate:
        raise InputError(
            pairs.uri, f"the key {duplicate} in two rows", "each (query_id, doc_id) once", "run `relabel prepare` on it"
        )
    plan = Plan(pairs.uri, inputs, task_id, shard_rows, cut_shards(rows, shard_rows))
    out.write_json(PLAN, asdict(plan))
    return plan


def changed_input(out: str, pairs: Folder, parts: list[str]) -> LedgerError:
    """The error for parts of `pairs` that are not those of the plan."""
    return LedgerError(
        out,
        f"input that changed since it was planned: {', '.join(parts[:5])} of {pairs.uri}",
        "the input of the plan",
        "restore the input, or choose another output folder",
    )


def cut_shards(rows_of_part: dict[str, int], shard_rows: int) -> tuple[Shard, ...]:
    """Shards of `shard_rows` rows (the last one less) over the parts in order."""
    shards, segments, room = [], [], shard_rows
    for part, rows in rows_of_part.items():
        start = 0
        while start < rows:
            stop = min(rows, start + room)
            segments.append(Segment(part, start, stop))
            room -= stop - start
            start = stop
            if not room:
                shards.append(Shard(len(shards), tuple(segments)))
                segments, room = [], shard_rows
    if segments:
        shards.append(Shard(len(shards), tuple(segments)))
    return tuple(shards)


def read_plan(out: Folder) -> Plan:
    values = out.read_json(PLAN)
    try:
        shards = tuple(
            Shard(shard["index"], tuple(Segment(**segment) for segment in shard["segments"]))
            for shard in values["shards"]
        )
        return Plan(**(values | {"shards": shards}))
    except (TypeError, KeyError) as error:
        raise LedgerError(f"{out.uri}/{PLAN}", f"a plan that misses or adds keys ({error})", "a plan of ours") from None


def read_shard(pairs: Folder, shard: Shard) -> pa.Table:
    """The rows of a shard as a checked pairs table; only the row groups that hold them are read."""
    tables = []
    for segment in shard.segments:
        with pairs.open(segment.part) as stream:
            file = pq.ParquetFile(stream)
            groups, first, row = [], None, 0
            for group in range(file.num_row_groups):
                stop = row + file.metadata.row_group(group).num_rows
                if row < segment.stop and stop > segment.start:
                    first = row if first is None else first
                    groups.append(group)
                row = stop
            table = file.read_row_groups(groups, columns=PAIRS.names)
        tables.append(table.slice(segment.start - first, segment.stop - segment.start))
    return checked(pa.concat_tables(tables), PAIRS, f"{pairs.uri}/{shard.segments[0].part}").combine_chunks()


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


def finished_shards(out: Folder, plan: Plan) -> dict[int, Marker]:
    """Shard → marker of those shards that need not be done again: marker readable, of this task, its part in place."""
    present = set(out.names("part-", ".parquet"))
    markers = {}
    for name in (out / "markers").names(suffix=".json"):
        try:
            marker = Marker(**out.read_json(f"markers/{name}"))
        except (InputError, TypeError):
            continue
        in_place = part_name(marker.shard) in present and marker.shard < len(plan.shards)
        if in_place and marker.task_id == plan.task_id and marker.rows_in == plan.shards[marker.shard].rows:
            facts = out.stat(part_name(marker.shard))
            if facts and facts.size == marker.bytes:
                markers[marker.shard] = marker
    return markers


def reconcile(out: Folder, plan: Plan, kind: str, scale: Scale | None, about: dict[str, Any]) -> Manifest:
    """Check that nothing was lost or doubled, then write the manifest that makes the table complete.

    Raises:
        LedgerError: for a shard without marker, counts that do not add up, a part that is not what its marker says, or
            a key in two rows.
    """
    markers = finished_shards(out, plan)
    missing = [shard.index for shard in plan.shards if shard.index not in markers]
    if missing:
        raise LedgerError(out.uri, f"{len(missing)} shards without a valid marker, e.g. {missing[:5]}", "all of them")
    parts = [part_name(shard.index) for shard in plan.shards]
    rows, quarantined = (sum(getattr(marker, name) for marker in markers.values()) for name in ("rows", "quarantined"))
    stored = sum(_part_rows(out, part) for part in parts)
    if rows + quarantined != plan.rows or stored != rows:
        raise LedgerError(
            out.uri,
            f"{plan.rows} rows in, {rows} out ({stored} stored), {quarantined} quarantined",
            "in = out + quarantined",
        )
    duplicate = duplicate_key(out, parts)
    if duplicate:
        raise LedgerError(out.uri, f"the key {duplicate} in two rows", "each key once")
    manifest = Manifest(kind, plan.rows, rows, quarantined, parts, scale, about)
    write_manifest(out, manifest)
    return manifest


def content_fingerprint(folder: Folder, name: str) -> str:
    """Size and hash of the footer of a Parquet file, which holds the sizes and statistics of all its columns."""
    with folder.open(name) as stream:
        size = stream.size()
        stream.seek(max(0, size - FOOTER_BYTES))
        return f"{size}-{hashlib.sha256(stream.read()).hexdigest()[:16]}"


def duplicate_key(folder: Folder, parts: Iterable[str]) -> tuple[str, str] | None:
    """A (query_id, doc_id) that is in two rows of the parts, if any; 8 bytes of memory a row."""
    hashes = [np.zeros(0, np.uint64)]
    for part in parts:
        hashes.append(_key_hashes(folder.read_table(part, list(KEY))))
    every = np.sort(np.concatenate(hashes))
    suspects = np.unique(every[1:][every[1:] == every[:-1]])
    if not suspects.size:
        return None
    seen: set[tuple[str, str]] = set()
    for part in parts:
        keys = folder.read_table(part, list(KEY))
        for row in np.flatnonzero(np.isin(_key_hashes(keys), suspects)).tolist():
            key = (keys["query_id"][row].as_py(), keys["doc_id"][row].as_py())
            if key in seen:
                return key
            seen.add(key)
    return None


def _key_hashes(keys: pa.Table) -> np.ndarray:
    from pandas.util import hash_array

    joined = pc.binary_join_element_wise(keys["query_id"], keys["doc_id"], "\x1f")
    return hash_array(joined.to_numpy(zero_copy_only=False), categorize=False)


def _part_rows(folder: Folder, part: str) -> int:
    with folder.open(part) as stream:
        return pq.read_metadata(stream).num_rows
