"""Starting the loop: hardware chosen and printed, training files as named Ray datasets, `TorchTrainer`, the result.

Ray is initialised by the caller (`jobs/`, tests). One dataset a rank and epoch over an explicit list of files, nothing
split and order preserved, so that each rank reads its own rows only and always in the same order.
"""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from relabel.errors import ConfigError, RelabelError
from relabel.hardware import cores
from relabel.storage import Folder
from train.checkpoints import remove_tree
from train.config import TrainingConfig
from train.engine import worker_environment
from train.loop import Job, Task, dataset_name, run_worker
from train.relay import Relay
from train.shuffle import EpochFiles
from train.tracking import check_tracker


def launch(
    task: Task,
    config: TrainingConfig,
    epochs: list[EpochFiles],
    files: Folder,
    out: Folder,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Run the loop on the cluster until its last step and return what rank 0 returned.

    Args:
        epochs: the training files of each epoch, below `files` in folders `epoch-<e>`.
        out: where checkpoints and the exported model go; all workers must reach it.

    Raises:
        ConfigError: where the cluster has too few CPUs or GPUs to ever start.
        RelabelError: where workers die or fail; with what to do next.
    """
    from ray.data import ExecutionOptions
    from ray.train import DataConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    check_tracker(config.track)
    threads, gpus = _hardware(config, log)
    ray_folder = out / "checkpoints" / "ray"
    with Relay(log) as relay:
        job = Job(task, config, [epoch.steps for epoch in epochs], gpus, threads, out, relay.board)
        trainer = TorchTrainer(
            _train,
            train_loop_config={"job": job},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=config.workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": _requested_cpus(threads), **({"GPU": gpus} if gpus else {})},
            ),
            run_config=RunConfig(
                name=uuid.uuid4().hex,
                storage_path=ray_folder.path(),
                storage_filesystem=ray_folder.filesystem,
                failure_config=FailureConfig(max_failures=config.retries),
                worker_runtime_env={"env_vars": worker_environment(threads, gpus)},
            ),
            datasets={
                dataset_name(number, rank): _dataset(files / f"epoch-{number}", names)
                for number, epoch in enumerate(epochs)
                for rank, names in enumerate(epoch.files)
            },
            dataset_config=DataConfig(datasets_to_split=[], execution_options=ExecutionOptions(preserve_order=True)),
        )
        try:
            with _interruptible():
                result = trainer.fit()
        except TrainingFailedError as error:
            raise _explained(error, out) from error
    remove_tree(ray_folder)
    return result.return_value


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is KeyboardInterrupt here as elsewhere: Ray Train takes SIGINT over, ends by SystemExit, keeps the signal.

    Its handler aborts the workers first. Outside the main thread there is no handler, neither Ray's nor ours.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _explained(error: Exception, out: Folder) -> RelabelError:
    """A failed run as an error to act on: the worker's own where it is one of ours."""
    failures = [getattr(failure, "_base_exc", failure) for failure in getattr(error, "worker_failures", {}).values()]
    for failure in failures:
        if isinstance(failure, RelabelError):
            return failure
    said = "; ".join(dict.fromkeys(f"{type(one).__name__}: {str(one).strip()[:400]}" for one in failures or [error]))
    return RelabelError(
        out.uri,
        f"training stopped by {said}",
        "workers that reach the last step",
        "run the same command again: it goes on after the last checkpoint",
    )


def _train(values: dict[str, Any]) -> dict[str, Any]:
    return run_worker(values["job"])


def _dataset(folder: Folder, names: list[str]) -> Any:
    """The files in this order as one dataset, read by the Parquet reader that starts fewer processes."""
    import ray.data

    context = ray.data.DataContext.get_current().copy()
    context.use_datasource_v2 = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        return ray.data.read_parquet(
            [folder.path(name) for name in names], filesystem=folder.filesystem, override_num_blocks=len(names)
        )


def _requested_cpus(threads: int) -> int:
    """CPUs a worker asks Ray for: one less than it uses, since Ray Data needs one to read beside it."""
    return max(1, threads - 1)


def _hardware(config: TrainingConfig, log: Callable[[str], None]) -> tuple[int, float]:
    """Threads and GPUs of a worker, checked against the cluster."""
    import ray

    resources = ray.cluster_resources()
    found_gpus = resources.get("GPU", 0)
    gpus = config.gpus if config.gpus is not None else float(found_gpus > 0)
    threads = config.threads or max(1, cores() // config.workers)
    if not config.threads:
        log(f"threads a worker: {threads} ({cores()} cores here, {config.workers} worker(s))")
    if config.gpus is None:
        log(f"GPUs a worker: {gpus:g} (the cluster has {found_gpus:g})")
    if gpus * config.workers > found_gpus:
        raise ConfigError("gpus", f"{gpus:g} for each of {config.workers} workers", f"at most {found_gpus:g} in all")
    wanted = _requested_cpus(threads) * config.workers + 1
    if wanted > resources.get("CPU", 0):
        raise ConfigError(
            "workers",
            f"{config.workers} workers with {threads} threads, which need {wanted} CPUs with one for reading",
            f"at most the {resources.get('CPU', 0):g} CPUs that the Ray cluster offers",
            "lower workers or threads",
        )
    return threads, gpus
