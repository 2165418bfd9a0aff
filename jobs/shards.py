"""The sharded stage on Ray Data: a source yields one row a shard, workers turn it into rows, a sink commits it.

Reading, working and committing overlap as Ray Data streams. Finished shards are skipped, a killed run loses the
shards in flight at most, and the stage ends by reconciling (see `relabel.ledger`). Used by `judge`, `adjust` and
`generate-queries`.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.data.exceptions import ExecutionTimeoutError

from jobs import interrupt
from jobs.cluster import PATIENCE_SECONDS
from jobs.poison import STAGE_DEATHS, Guarded, forgive, most_deaths
from jobs.set_aside import legible
from jobs.stalled import watched
from relabel.errors import InputError, RelabelError
from relabel.ledger import (
    Marker,
    MarkerIndex,
    Plan,
    Segment,
    Shard,
    changed_input,
    check_keys,
    commit,
    content_fingerprint,
    finished_shards,
    plan_stage,
    read_shard,
    reconcile,
)
from relabel.lock import Lock, held
from relabel.metrics import StageMeter
from relabel.progress import Progress, duration
from relabel.records import Scale
from relabel.storage import Folder
from relabel.storage_errors import explained
from relabel.tables import MANIFEST, Manifest, read_manifest

#: Read tasks at most: Ray Data keeps each in the object store from the beginning.
READ_TASKS = 1_000
#: Logical CPUs of a read or a commit; different from any worker's, so that Ray does not fuse them into one task.
IO_CPUS = 0.25
#: How often Ray tries a shard again whose worker ended; `jobs.poison` ends the stage before, but where its limit is
#: larger, with very many workers.
WORKER_DEATHS = 2 * STAGE_DEATHS
#: Characters of what Ray says of a worker's end that are shown; of an error while it started, the last.
SAID = 400


class ShardWorker(Protocol):
    """What a stage does with a shard; made once an actor, called once a shard."""

    def __call__(self, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        """Rows out, quarantined rows, and facts of a shard (JSON values) for its marker."""
        ...


@dataclass(frozen=True)
class Stage:
    """A sharded stage.

    Attributes:
        name: for progress lines; `unit`: what they call a row.
        kind: kind of the table it writes.
        task_id: what is done to the rows; the plan and all markers carry it.
        worker: makes a `ShardWorker` inside an actor.
        arguments: keyword arguments of `worker`.
        shard_rows: rows a shard, used where there is no plan yet.
        actors, num_cpus, num_gpus, environment: the fixed actor pool.
        scale: scale of the table it writes.
        about: facts for the manifest; `summary` adds to them what the markers say.
    """

    name: str
    kind: str
    task_id: str
    worker: Callable[..., ShardWorker]
    arguments: dict[str, Any]
    shard_rows: int
    scale: Scale | None
    about: dict[str, Any]
    summary: Callable[[list[Marker]], dict[str, Any]]
    actors: int = 1
    num_cpus: float = 1
    num_gpus: float = 0
    environment: dict[str, str] = field(default_factory=dict)
    unit: str = "pairs"


def run_stage(stage: Stage, pairs: Folder, out: Folder, log: Callable[[str], None] = print) -> Manifest:
    """Run a stage over a pairs table, or what is left of it; returns the manifest of the finished table.

    Raises:
        FolderInUse: where another run is at work in `out`.
        LedgerError: where something was lost or doubled, or the folder holds another plan.
        RelabelError: what a worker raised, as it was raised.
    """
    with held(out, log) as lock:
        return _run(stage, pairs, out, lock, log)


def _run(stage: Stage, pairs: Folder, out: Folder, lock: Lock, log: Callable[[str], None]) -> Manifest:
    plan = plan_stage(pairs, out, stage.task_id, stage.shard_rows)
    done = finished_shards(out, plan)
    todo = [shard for shard in plan.shards if shard.index not in done]
    if not todo and out.exists(MANIFEST):
        log(f"{stage.name}: {plan.rows} rows in {len(plan.shards)} shards are done already in {out.uri}")
        return read_manifest(out, stage.kind)
    if done:
        log(f"{stage.name}: {len(done)} of {len(plan.shards)} shards are done already, going on with {len(todo)}")
    forgive(out)
    progress = Progress(stage.name, plan.rows, sum(marker.rows_in for marker in done.values()), stage.unit, log)
    index, meter = MarkerIndex(out), StageMeter(stage.name)
    try:
        for marker in _committed(stage, plan, todo, pairs, out, log):
            index.add(marker)
            meter.committed(marker)
            progress.advance(marker.rows_in)
            interrupt.check()
            lock.check()
    finally:
        with suppress(InputError):  # what stopped the stage is what is to be told: the index is a copy
            index.flush()
    markers = finished_shards(out, plan)
    about = stage.about | stage.summary(list(markers.values()))
    manifest = reconcile(out, plan, markers, stage.kind, stage.scale, about)
    log(
        f"{stage.name}: {manifest.rows_in} rows in = {manifest.rows} out + {manifest.quarantined} quarantined, "
        "no key twice"
    )
    return manifest


def _committed(
    stage: Stage, plan: Plan, todo: list[Shard], pairs: Folder, out: Folder, log: Callable[[str], None]
) -> Iterator[Marker]:
    """Runs the shards through Ray Data; yields the marker of each as it is committed."""
    if not todo:
        return
    actors, failure = _Actors(), None
    try:
        dataset = _pipeline(stage, plan, todo, pairs, out, actors)
        with watched(stage.name, actors.renew, log) as finished:
            for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for marker in (Marker(**json.loads(text)) for text in block["marker"].to_pylist()):
                    finished(marker.busy_seconds)
                    yield marker
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        actors.kill()
        failure = _cause(error, stage.name)
        if failure is error:
            raise
    if failure:  # raised out here, without Ray's error as what was handled meanwhile
        raise failure


class _Actors:
    """The options of a stage's actors, each with a name, so that those of a stage that failed can be ended.

    Ray Data lets go of them, but what it leaves behind refers to itself and to them: until someone looks for such
    circles they would keep what they reserve, and the next stage of this process would wait for it, idle, for ever.
    """

    def __init__(self):
        self._names: list[str] = []

    def __call__(self) -> dict[str, Any]:
        """Options of one more actor: Ray Data's own would try a shard that ends its worker again for ever."""
        self._names.append(f"relabel-{uuid.uuid4().hex}")
        return {"max_task_retries": WORKER_DEATHS, "name": self._names[-1]}

    def kill(self) -> None:
        """End those that live."""
        self._kill(for_good=True)

    def renew(self) -> None:
        """End those that live; Ray starts others in their places, with the same names, and gives them their shards."""
        self._kill(for_good=False)

    def _kill(self, for_good: bool) -> None:
        for name in self._names:
            with suppress(ValueError, ray.exceptions.RayError):  # it has ended, or the cluster has
                ray.kill(ray.get_actor(name), no_restart=for_good)


def _pipeline(
    stage: Stage, plan: Plan, todo: list[Shard], pairs: Folder, out: Folder, actors: Callable[[], dict[str, Any]]
) -> ray.data.Dataset:
    """Read, work, commit; a shard is one row from end to end, and each block one row. Nothing runs until iterated."""
    io_tasks = min(len(todo), max(2, stage.actors))  # one worker process each: more of them only cost memory
    whole_blocks = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}
    source = _ShardSource(pairs, plan, todo)
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # bytes: Ray Data puts rows together up to it, and one row is never cut
    with ray.data.DataContext.current(context):
        return (
            ray.data.read_datasource(
                source, override_num_blocks=source.tasks, concurrency=min(io_tasks, source.tasks), num_cpus=IO_CPUS
            )
            .map_batches_internal(  # `map_batches` itself refuses whole blocks to a stage that has GPUs
                _Worker,
                fn_constructor_args=(stage.name, stage.worker, stage.arguments, out, most_deaths(stage.actors)),
                compute=ray.data.ActorPoolStrategy(size=min(stage.actors, len(todo)), max_tasks_in_flight_per_actor=2),
                num_cpus=stage.num_cpus,
                num_gpus=stage.num_gpus,
                runtime_env={"env_vars": stage.environment} if stage.environment else None,
                ray_remote_args_fn=actors,
                **whole_blocks,
            )
            .map_batches(_Sink(out, plan.task_id), concurrency=io_tasks, num_cpus=IO_CPUS, **whole_blocks)
        )


class _ShardSource(Datasource):
    """The shards in order, one row each; a read task streams one shard, or several where there are very many."""

    def __init__(self, pairs: Folder, plan: Plan, shards: list[Shard]):
        super().__init__()
        self._pairs, self._shards = pairs, shards
        self._inputs = plan.inputs
        self._at_once = -(-len(shards) // READ_TASKS)
        self.tasks = -(-len(shards) // self._at_once)

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        size = self._at_once
        pieces = (self._shards[start : start + size] for start in range(0, len(self._shards), size))
        return [
            ReadTask(partial(_read, self._pairs, self._planned(piece), piece), _metadata(len(piece)))
            for piece in pieces
        ]

    def _planned(self, shards: list[Shard]) -> dict[str, str]:
        """The fingerprints of the parts that these shards lie in."""
        return {segment.part: self._inputs[segment.part] for shard in shards for segment in shard.segments}


def _metadata(shards: int) -> BlockMetadata:
    return BlockMetadata(num_rows=shards, size_bytes=None, input_files=None, exec_stats=None)


def _read(pairs: Folder, planned: dict[str, str], shards: list[Shard]) -> Iterator[pa.Table]:
    """Reads shards; `planned` are their parts' fingerprints, looked at after reading: a change in between shows."""
    for shard in shards:
        with explained(pairs.uri):
            table = read_shard(pairs, shard)
            for part in {segment.part for segment in shard.segments}:
                if content_fingerprint(pairs, part) != planned[part]:
                    raise changed_input(shard.source, pairs, [part])
        yield _row(shard, pairs=_packed(table))


def _row(shard: Shard, **columns: Any) -> pa.Table:
    """A shard's row on its way through Ray Data; tables are packed."""
    arrays = {
        name: pa.array([value], pa.large_binary() if isinstance(value, bytes) else None)
        for name, value in columns.items()
    }
    return pa.table({"shard": [json.dumps(asdict(shard))], **arrays})


def _shard(block: pa.Table, row: int) -> Shard:
    values = json.loads(block["shard"][row].as_py())
    return Shard(values["index"], tuple(Segment(**segment) for segment in values["segments"]))


class _Worker:
    """The actor: holds the stage's worker, takes one whole shard a call."""

    def __init__(
        self, stage: str, make: Callable[..., ShardWorker], arguments: dict[str, Any], out: Folder, most_deaths: int
    ):
        self._failure, self._is = None, _this_worker()
        try:
            self._work = Guarded(make(**arguments), out, stage, most_deaths)
        except RelabelError as error:  # Ray tells of an actor that could not be made in text alone
            self._failure = error

    def __call__(self, block: pa.Table) -> pa.Table:
        if self._failure:
            raise self._failure
        return pa.concat_tables([self._worked(block, row) for row in range(block.num_rows)])

    def _worked(self, block: pa.Table, row: int) -> pa.Table:
        shard, pairs = _shard(block, row), _unpacked(block["pairs"][row])
        started, begun = time.time(), time.monotonic()
        rows, quarantined, facts = self._work(pairs, shard)
        finished = started + time.monotonic() - begun  # a wall clock may jump meanwhile
        check_keys(legible(pairs) if quarantined.num_rows else pairs, rows, quarantined, f"shard {shard.index}")
        facts = facts | {"worker": self._is}
        return _row(
            shard,
            rows=_packed(rows),
            quarantined=_packed(quarantined),
            facts=json.dumps(facts),
            started=started,
            finished=finished,
        )


def _this_worker() -> dict[str, Any]:
    """What a marker says of the worker that did its shard (see `Marker.worker`)."""
    context = ray.get_runtime_context() if ray.is_initialized() else None
    ids = {"node": context.get_node_id(), "actor": context.get_actor_id()} if context else {}
    return ids | {"process": os.getpid()}


class _Sink:
    """Commits the shards of a block: parts first, then the marker."""

    def __init__(self, out: Folder, task_id: str):
        self._out, self._task_id = out, task_id

    def __call__(self, block: pa.Table) -> pa.Table:
        return pa.table({"marker": [self._committed(block, row) for row in range(block.num_rows)]})

    def _committed(self, block: pa.Table, row: int) -> str:
        marker = commit(
            self._out,
            _shard(block, row),
            self._task_id,
            _unpacked(block["rows"][row]),
            _unpacked(block["quarantined"][row]),
            json.loads(block["facts"][row].as_py()),
            block["started"][row].as_py(),
            block["finished"][row].as_py(),
        )
        return json.dumps(asdict(marker))


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _unpacked(value: pa.Scalar) -> pa.Table:
    return pa.ipc.open_stream(value.as_buffer()).read_all()


def _cause(error: BaseException, stage: str) -> BaseException:
    """The error of ours that Ray wrapped; a worker's end, or a stage's rest, as an error to act on; else Ray's own."""
    if isinstance(error, ExecutionTimeoutError):
        return RelabelError(
            stage,
            f"no shard for {duration(PATIENCE_SECONDS)}",
            "workers that start, and machines for them",
            "see what they wait for (`ray status`; RELABEL_WORKER_LOGS=1 shows what workers print), then run the same "
            "command again: finished shards are kept",
        )
    seen: BaseException | None = error
    while seen is not None:
        # Ray's wrapper is an instance of what it wraps as well, with a traceback for a text.
        if isinstance(seen, RelabelError) and not isinstance(seen, ray.exceptions.RayTaskError):
            return seen
        if isinstance(seen, ray.exceptions.RayActorError) and seen.actor_init_failed:
            return RelabelError(
                stage,
                f"workers that could not start ({str(seen).strip()[-SAID:]})",
                "workers that start",
                "mend what is said there (memory for the model and its cache, versions), then run the same command "
                "again; RELABEL_WORKER_LOGS=1 shows what workers print",
            )
        if isinstance(seen, ray.exceptions.RayActorError):
            return RelabelError(
                stage,
                f"a worker that ended on the same shard {WORKER_DEATHS + 1} times ({str(seen).strip()[:SAID]})",
                "workers that live through each shard",
                "run the same command again: finished shards are kept; RELABEL_WORKER_LOGS=1 shows what workers print",
            )
        seen = getattr(seen, "cause", None) or seen.__cause__
    return error
