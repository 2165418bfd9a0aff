"""Joining a Ray cluster, or starting one on this machine; the settings that all jobs need."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jobs import interrupt
from relabel.engine import check_blocks
from relabel.errors import RelabelError
from relabel.hardware import cores

#: Object store of a local cluster, bytes. Shards are megabytes; the rest of the memory is for models.
LOCAL_OBJECT_STORE = 1 << 30
#: Seconds without any progress after which Ray Data gives up: a shard may be slow, GPUs may take hours to come.
PATIENCE_SECONDS = 24 * 3600
#: Seconds that a local Ray has to start in, each time that it is tried.
START_SECONDS = 180
#: How often a local Ray is started whose node ends by itself before it is up.
START_TRIES = 4
#: Workers in a row that may die while they start, e.g. with their node, before a stage fails.
START_DEATHS = 3


def connect(log: Callable[[str], None] = print) -> None:
    """Join the cluster named by RAY_ADDRESS (set inside `ray job submit`), else start Ray on this machine.

    A local cluster counts more logical CPUs than cores: reads and writes wait on storage while engines compute. What
    its workers print goes to Ray's own log files; RELABEL_WORKER_LOGS=1 shows it here.
    """
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=True, logging_level="WARNING")
        log(f"ray: joined {address}, resources {_short(ray.cluster_resources())}")
        if not gpus():
            log("ray: no GPU has joined yet; what has no num_gpus or gpus in the recipe takes CPUs")
    else:
        logical = 2 * cores() + 2
        _start(logical, log)
        log(f"ray: started here with {logical} logical CPUs (2 × {cores()} cores + 2 for reads and writes)")
    interrupt.listen()
    _settle_data(here=not address)


def _start(logical: int, log: Callable[[str], None]) -> None:
    """Start Ray here.

    Raises:
        RelabelError: where it does not come up within `START_SECONDS`, or its node ends in each of `START_TRIES`.
    """
    import ray

    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # seconds to start, and nobody takes this machine
    os.environ.setdefault("RAY_event_stats", "0")  # Ray's own loops timed for Ray's developers, in every process
    show_workers = os.environ.get("RELABEL_WORKER_LOGS") == "1"
    for tried in range(1, START_TRIES + 1):
        try:
            with _patience(log), _few_processes(show_workers):
                ray.init(
                    address="local",  # never a cluster that happens to run on this machine
                    num_cpus=logical,
                    object_store_memory=LOCAL_OBJECT_STORE,
                    include_dashboard=False,
                    logging_level="WARNING",
                    log_to_driver=show_workers,
                )
            return
        except _NodeEnded as ended:
            if tried == START_TRIES:
                raise RelabelError(
                    "Ray on this machine",
                    f"a node that ended {tried} times while it started, at last with {ended}",
                    "a node that comes up",
                    "let other work on this machine end, or mend what is said there, and give the same command again",
                ) from None
            log("ray: its node ended while it started, which happens on a busy machine; starting it again")
        except Exception as error:  # Ray raises the bare class
            if "timed out during startup" not in str(error):
                raise
            raise RelabelError(
                "Ray on this machine",
                f"no start within {START_SECONDS} s",
                "a machine that is not wholly taken by other work",
                "let the other work end and give the same command again: what is finished is kept",
            ) from None


class _NodeEnded(Exception):
    """Ray's node ended before it was up; its last words."""


@contextmanager
def _patience(log: Callable[[str], None]) -> Iterator[None]:
    """In here Ray waits `START_SECONDS` for its own node to come up, not the 30 s that it has no setting for.

    On a busy machine its agents take longer to import what they need, and a new try would begin from nothing. A node
    whose agents take more than 15 s each ends itself, though, and has no setting for that either.

    Raises:
        _NodeEnded: where the node has ended, which is looked at after each of Ray's own looks, half a minute long; its
            other processes are ended, too.
    """
    from ray._private import services
    from ray._private.node import Node

    ask, start = services.get_node, Node.start_raylet
    begun = time.monotonic()
    nodes: list[Node] = []

    def noted(node: Node, *arguments: Any, **options: Any) -> None:
        start(node, *arguments, **options)
        nodes.append(node)

    def patient(*arguments: Any, **options: Any) -> Any:
        told = False
        while True:
            try:
                return ask(*arguments, **options)
            except RuntimeError:
                for node in nodes:
                    _check_alive(node)
                waited = time.monotonic() - begun
                if waited > START_SECONDS:
                    raise
                if not told and waited > 30:
                    log("ray: still starting on this busy machine")
                    told = True
                time.sleep(0.2)

    with _replaced(services, "get_node", patient), _replaced(Node, "start_raylet", noted):
        yield


def _check_alive(node: Any) -> None:
    """Raises `_NodeEnded` where the node's raylet has ended, once the node's other processes are ended."""
    if not any(kind == "raylet" for kind, _ in node.dead_processes()):
        return
    node.kill_all_processes(check_alive=False, wait=True)
    log = Path(node.get_logs_dir_path()) / "raylet.err"
    said = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    raise _NodeEnded(said[0][-500:] if said else f"no word in {log}")


@contextmanager
def _few_processes(show_workers: bool) -> Iterator[None]:
    """In here Ray starts neither autoscaler nor dashboard, nor what reads all log files ten times a second.

    They are of no use on one machine, or, the last, to nobody but a driver that shows what workers print. Ray starts
    them all the same; each imports Ray's Python as it starts, and takes a part of a core for good.
    """
    from ray._private.node import Node

    with ExitStack() as replaced:
        for name in ("start_monitor", "start_api_server", *(() if show_workers else ("start_log_monitor",))):
            replaced.enter_context(_replaced(Node, name, lambda self, **options: None))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """In here an attribute of Ray's is ours."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def gpus() -> float:
    """GPUs of the connected cluster."""
    import ray

    return ray.cluster_resources().get("GPU", 0)


def with_gpus(config, needed: int):
    """An engine's configuration with the GPUs of an actor settled: what it says, else `needed` where there are any.

    Raises:
        ConfigError: where the engine could not start with what was settled.
    """
    if config.num_gpus is None:
        config = config.model_copy(update={"num_gpus": needed if gpus() else 0})
    if needed:
        check_blocks(config)
    return config


def _settle_data(here: bool) -> None:
    """Ray Data as our shards need it: one block a shard, actors that are started again, quiet.

    Args:
        here: whether Ray was started here, so that this process shares its cores with the workers.
    """
    import ray.data

    from jobs.driver_loop import SleepsWithoutNews

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1 << 40
    context.enable_progress_bars = False
    context.actor_task_retry_on_errors = False
    context.max_errored_blocks = 0
    context.raise_original_map_exception = True  # wrapped, an error of ours would lose its words on the way
    context.max_consecutive_actor_init_deaths = START_DEATHS
    context.execution_no_progress_timeout_s = PATIENCE_SECONDS
    context.execution_options.verbose_progress = False
    context.print_on_execution_start = False
    context.custom_execution_callback_classes = [SleepsWithoutNews] if here else []


def _short(resources: dict[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items()) if ":" not in name)
