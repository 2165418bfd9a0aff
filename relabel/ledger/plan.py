"""The plan of a stage: which rows of which input parts make which shard, written down once, before any work.

Pairs table in, `plan.json` out. Invariants: the shards cover each row once, in order; they are a function of the parts'
row counts and the shard size, so that the plan of a hundred thousand shards is as short as that of ten.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from relabel.errors import InputError, LedgerError
from relabel.ledger.keys import duplicate_key
from relabel.records import PAIRS, checked
from relabel.storage import Folder, at_once, parquet_file
from relabel.storage_errors import explained
from relabel.tables import read_manifest
from relabel.untrusted import record, safe_names

PLAN = "plan.json"
#: Bytes at a Parquet file's end that hold its footer; with the size they tell one content from another.
FOOTER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `start` (inclusive) to `stop` (exclusive) of one input part."""

    part: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
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
    """What a stage will do.

    Attributes:
        input_uri: the pairs table.
        inputs: part → fingerprint of its content.
        part_rows: part → rows, in the order in which shards are cut.
        task_id: what is done to the rows (a judge id, a rule's hash); a plan of another task is refused.
        shard_rows: rows a shard at most.
    """

    input_uri: str
    inputs: dict[str, str]
    part_rows: dict[str, int]
    task_id: str
    shard_rows: int

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        return cut_shards(self.part_rows, self.shard_rows)

    @property
    def rows(self) -> int:
        return sum(self.part_rows.values())


def plan_stage(pairs: Folder, out: Folder, task_id: str, shard_rows: int) -> Plan:
    """The plan of a stage: the one written down in `out`, or a new one that is written now.

    Raises:
        LedgerError: where `out` holds a plan of another task, or the input changed since it was planned.
        InputError: where a key appears twice in the input.
    """
    manifest = read_manifest(pairs, "pairs")
    inputs = fingerprints(pairs, manifest.parts)
    if out.exists(PLAN):
        plan = read_plan(out)
        if plan.task_id != task_id:
            raise LedgerError(out.uri, f"a plan of {plan.task_id}", f"one of {task_id}", "choose another output folder")
        if plan.inputs != inputs:
            changed = sorted(name for name in {*plan.inputs, *inputs} if plan.inputs.get(name) != inputs.get(name))
            raise changed_input(out.uri, pairs, changed)
        return plan
    rows = part_rows(pairs, manifest.parts)
    duplicate = duplicate_key(pairs, manifest.parts)
    if duplicate:
        raise InputError(
            pairs.uri, f"the key {duplicate} in two rows", "each (query_id, doc_id) once", "run `relabel prepare` on it"
        )
    plan = Plan(pairs.uri, inputs, rows, task_id, shard_rows)
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


def cut_shards(part_rows: dict[str, int], shard_rows: int) -> tuple[Shard, ...]:
    """Shards of `shard_rows` rows (the last one less) over the parts in order."""
    shards, segments, room = [], [], shard_rows
    for part, rows in part_rows.items():
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
    """The plan that lies in `out`; raises LedgerError where it is none."""
    address = f"{out.uri}/{PLAN}"
    try:
        plan = record(Plan, out.read_json(PLAN), address)
        safe_names([*plan.inputs, *plan.part_rows], address)
    except InputError as error:
        raise LedgerError(address, f"a plan with {error.found}", error.wanted) from None
    if not plan.shard_rows:
        raise LedgerError(address, "a plan of shards without rows", "at least one row a shard")
    return plan


def read_shard(pairs: Folder, shard: Shard) -> pa.Table:
    """The rows of a shard as a checked pairs table; only the row groups that hold them are read."""
    tables = []
    for segment in shard.segments:
        where = f"{pairs.uri}/{segment.part}"
        with explained(where), pairs.open(segment.part) as stream:
            file = parquet_file(stream, where)
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


def fingerprints(folder: Folder, parts: list[str]) -> dict[str, str]:
    """Part → fingerprint of its content, several parts at once."""
    return dict(zip(parts, at_once(lambda part: content_fingerprint(folder, part), parts), strict=True))


def content_fingerprint(folder: Folder, name: str) -> str:
    """Size and hash of the footer of a Parquet file, which holds the sizes and statistics of all its columns."""
    with folder.open(name) as stream:
        size = stream.size()
        stream.seek(max(0, size - FOOTER_BYTES))
        return f"{size}-{hashlib.sha256(stream.read()).hexdigest()[:16]}"


def part_rows(folder: Folder, parts: list[str]) -> dict[str, int]:
    """Part → rows, by its footer, several parts at once."""

    def rows(part: str) -> int:
        with folder.open(part) as stream:
            return pq.read_metadata(stream).num_rows

    return dict(zip(parts, at_once(rows, parts), strict=True))
