"""Judge workers with troubles of their own, and a sink that is cut between part and marker; real work otherwise."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.judge import JudgeWorker
from jobs.shards import _Sink
from relabel.engine import EngineDead
from relabel.judges import JudgeConfig
from relabel.ledger import Shard
from relabel.storage import Folder


class TroubledJudge(JudgeWorker):
    """The stage's own judge, slower, that may meet rows that it does not survive.

    Args:
        start: seconds that it takes to start; `pause`: seconds of sleep a shard.
        gate: from shard `gated` on wait for this file, but for workers of the node that `<gate>.node` names; who got
            a shard says so by `<gate>-<pid>`.
        kills: a row with this text in it ends the process by SIGKILL.
        ends_engine: a row with this text ends the engine, as a crash inside it does.
        raises: the tokenizer raises for a row with this text.
        clock: seconds that the wall clock jumps by after each shard, forwards and backwards in turn.
    """

    def __init__(
        self,
        config: JudgeConfig,
        expected_id: str,
        start: float = 0.0,
        pause: float = 0.0,
        gate: str = "",
        gated: int = 4,
        kills: str = "",
        ends_engine: str = "",
        raises: str = "",
        clock: float = 0.0,
    ):
        time.sleep(start)
        super().__init__(config, expected_id)
        self._pause, self._gate, self._gated, self._clock = pause, gate, gated, clock
        self._kills, self._ends_engine, self._raises = kills, ends_engine, raises

    def __call__(self, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        time.sleep(self._pause)
        if self._gate:
            Path(f"{self._gate}-{os.getpid()}").touch()
        while self._gate and shard.index >= self._gated and not self._may_go_on():
            time.sleep(0.05)
        texts = "\n".join(pairs["text"].to_pylist())
        if self._kills and self._kills in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._ends_engine and self._ends_engine in texts:
            raise EngineDead("CudaError: an illegal memory access was encountered")
        if self._raises and self._raises in texts:
            raise ValueError("the tokenizer panicked: index out of bounds")
        rows, quarantined, facts = super().__call__(pairs, shard)
        if self._clock:
            jump_clock(self._clock if shard.index % 2 else -self._clock)
        return rows, quarantined, facts

    def _may_go_on(self) -> bool:
        named = Path(f"{self._gate}.node")
        return os.path.exists(self._gate) or (named.exists() and named.read_text() == _node())


def jump_clock(seconds: float) -> None:
    """Let this process's wall clock jump; the machine's stays, and so does the monotonic one."""
    real = time.time
    time.time = lambda: real() + seconds


class CutSink(_Sink):
    """A sink whose process is killed once with a shard's part written and its marker not; the driver first if asked.

    RELABEL_CHAOS_CUT names the file that says that it has happened, in the driver's environment.
    """

    def __init__(self, out: Folder, task_id: str):
        driver = os.getpid() if os.environ.get("RELABEL_CHAOS_CUT_DRIVER") else None
        folder = CutFolder(out.uri, "markers/00003.json", Path(os.environ["RELABEL_CHAOS_CUT"]), driver)
        super().__init__(folder, task_id)


class CutFolder(Folder):
    """A folder that kills the process that writes a named file, the first time."""

    def __init__(self, uri: str, name: str, flag: Path, driver: int | None):
        super().__init__(uri)
        self._name, self._flag, self._driver = name, flag, driver

    def write_bytes(self, name: str, data: bytes | pa.Buffer) -> None:
        if name == self._name and not self._flag.exists():
            self._flag.write_text("cut")
            if self._driver:
                os.kill(self._driver, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        super().write_bytes(name, data)


def _node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()
