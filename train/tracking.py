"""Training curves for TensorBoard, MLflow or Weights & Biases, off unless the recipe says `track`; a few lines each.

Rank 0 logs loss, rate and learning rate of each step, and the measures of each validation. TensorBoard's event files
lie in `tensorboard/` beside the model. MLflow and W&B go where their own environment variables say
(MLFLOW_TRACKING_URI, WANDB_PROJECT, WANDB_MODE=offline, …), which the workers must have. To add a tracker: a class with
`log` and `close`, a line in `TRACKERS` and in `TrainingConfig.track`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from relabel.errors import ConfigError, in_short
from relabel.secrets import redacted
from relabel.storage import Folder

#: Steps between two copies of the event files to a store that is no disk.
COPY_STEPS = 50


class Tracker(Protocol):
    """Takes numbers by name."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Nothing:
    """No tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `tensorboard/` of the training's folder; a resumed training replaces the steps it does again.

    A store that is no disk gets a file of its own for every `COPY_STEPS` steps, and for the last ones.
    """

    def __init__(self, out: Folder, step: int, config: Mapping[str, Any]):
        self._out, self._scratch = out / "tensorboard", None
        if not self._out.is_local:
            self._scratch = tempfile.TemporaryDirectory(prefix="relabel-tensorboard-")
        self._local = Path(self._scratch.name if self._scratch else self._out.uri)
        self._writer: Any = self._new(step)
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()), step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._writer = self._writer or self._new(step, again=True)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        if self._scratch and step % COPY_STEPS == 0:
            self.close()

    def close(self) -> None:
        if self._writer:
            self._writer.close()  # flushing alone leaves what still waits for its thread
            self._writer = None
        for path in sorted(self._local.iterdir()) if self._scratch else ():
            self._out.write_bytes(path.name, path.read_bytes())
            path.unlink()

    def _new(self, step: int, again: bool = False) -> Any:
        from tensorboardX import SummaryWriter

        purge = None if again else step or None
        return SummaryWriter(str(self._local), flush_secs=10, filename_suffix=f".{step}", purge_step=purge)


class MLflow:
    """A run of MLflow, in the experiment and at the address that its environment variables name."""

    def __init__(self, out: Folder, step: int, config: Mapping[str, Any]):
        import mlflow

        self._mlflow = mlflow
        mlflow.start_run(run_name=_name(out), tags={"relabel.out": out.uri})
        if not step:
            mlflow.log_params(dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics({_plain(name): value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class WeightsAndBiases:
    """A run of W&B, in the project that WANDB_PROJECT names, else `relabel`."""

    def __init__(self, out: Folder, step: int, config: Mapping[str, Any]):
        import os

        import wandb

        project = os.environ.get("WANDB_PROJECT", "relabel")
        self._run = wandb.init(project=project, name=_name(out), config={**config, "out": out.uri})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Patient:
    """A tracker that does not end a training: what it cannot take is told once, and it is asked no more.

    Args:
        name: of the tracker; `make`: makes it.
        tell: takes the line that says so.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], tell: Callable[[str], None]):
        self._name, self._tell = name, tell
        self._tracker: Tracker | None = self._tried(make)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._tracker:
            self._tried(lambda: self._tracker.log(step, values))

    def close(self) -> None:
        if self._tracker:
            self._tried(self._tracker.close)

    def _tried(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # anything: a library of others, and a server behind it
            self._tracker = None
            self._tell(f"{self._name}: {redacted(in_short(error, 200))}; the training goes on without it")


#: Name in a recipe → tracker, module that it needs, what to install.
TRACKERS = {
    "tensorboard": (TensorBoard, "tensorboardX", "tensorboardX"),
    "mlflow": (MLflow, "mlflow", "'relabel[mlflow]'"),
    "wandb": (WeightsAndBiases, "wandb", "'relabel[wandb]'"),
}


def check_tracker(name: str) -> None:
    """Raises ConfigError where the library of a tracker is missing, before anything is trained."""
    if name == "none":
        return
    _, module, package = TRACKERS[name]
    if find_spec(module) is None:
        raise ConfigError(
            "track", f"{name}, and no module {module} here", "a tracker that is installed",
            f"pip install {package} on every node, or leave track out",
        )  # fmt: skip


def tracker(name: str, out: Folder, step: int, config: Mapping[str, Any], tell: Callable[[str], None]) -> Tracker:
    """The tracker of a training that goes on after `step`; what it fails of is told, and the training goes on."""
    if name == "none":
        return Nothing()
    return Patient(name, lambda: TRACKERS[name][0](out, step, config), tell)


def _name(out: Folder) -> str:
    """The last two parts of the folder: `demo/judge`."""
    return "/".join(out.uri.rstrip("/").split("/")[-2:])


def _plain(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_at_", name)
