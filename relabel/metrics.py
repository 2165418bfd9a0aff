"""Metrics for Prometheus through Ray's own exporter: what sharded stages and trainings count, and under which names.

Every node of a Ray cluster that has `ray[default]` exports them at the `MetricsExportPort` of `ray.nodes()`;
`deploy/grafana-relabel.json` is a board of them. They are recorded once a shard or step, not on the hot path. A shard
that is done twice because its commit failed counts twice: the books are the markers, not these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """A metric of ours: kind, meaning, tags."""

    kind: Literal["counter", "gauge", "histogram"]
    about: str
    tags: tuple[str, ...]


#: Upper bounds of the shard histogram's buckets, seconds.
BOUNDS = [1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600]
METRICS: dict[str, Metric] = {
    "relabel_pairs": Metric("counter", "Rows that workers of a sharded stage have done", ("stage",)),
    "relabel_tokens": Metric("counter", "Prompt tokens that engines were given", ("stage",)),
    "relabel_quarantined": Metric("counter", "Rows that went to quarantine", ("stage", "reason")),
    "relabel_shard_seconds": Metric("histogram", "Seconds of work of a shard", ("stage",)),
    "relabel_worker_starts": Metric("counter", "Workers (engines) that were made", ("stage",)),
    "relabel_worker_restarts": Metric("counter", "Those of them that took the place of a dead one", ("stage",)),
    "relabel_training_pairs": Metric("counter", "Query-document pairs trained on", ("training",)),
    "relabel_training_loss": Metric("gauge", "Loss of the last step", ("training",)),
    "relabel_training_pairs_per_second": Metric("gauge", "Pairs a second of the last step", ("training",)),
    "relabel_training_step": Metric("gauge", "Steps done", ("training",)),
}


def exported_names(name: str) -> list[str]:
    """The names under which Ray exports a metric of ours: prefixed, and with the endings of its kind."""
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return [f"ray_{name}{ending}" for ending in endings[METRICS[name].kind]]


class Meter:
    """Records metrics of one process of a Ray cluster; where there is no Ray, nothing happens.

    Args:
        tags: that all records have, such as the stage.
    """

    def __init__(self, **tags: str):
        self._tags, self._made = tags, {}

    def count(self, name: str, amount: float, **tags: str) -> None:
        """Add to a counter; nothing is recorded for 0."""
        if amount > 0 and (metric := self._metric(name)):
            metric.inc(amount, tags=self._tags | tags)

    def show(self, name: str, value: float) -> None:
        """Set a gauge."""
        if metric := self._metric(name):
            metric.set(value, tags=self._tags)

    def observe(self, name: str, value: float) -> None:
        """Put a value into a histogram."""
        if metric := self._metric(name):
            metric.observe(value, tags=self._tags)

    def _metric(self, name: str) -> Any:
        import ray

        if not ray.is_initialized():
            return None
        if name not in self._made:
            from ray.util import metrics

            one = METRICS[name]
            more = {"boundaries": BOUNDS} if one.kind == "histogram" else {}
            kind = getattr(metrics, one.kind.capitalize())
            self._made[name] = kind(name, description=one.about, tag_keys=one.tags, **more)
        return self._made[name]


class ShardMeter:
    """Records the shards of one worker of a stage, and says which worker it is.

    Args:
        stage: the stage's name.
    """

    def __init__(self, stage: str):
        import ray

        self._meter = Meter(stage=stage)
        self._worker: dict[str, Any] = {}
        self._meter.count("relabel_worker_starts", 1)
        if ray.is_initialized():
            context = ray.get_runtime_context()
            again = context.get_actor_id() and context.was_current_actor_reconstructed
            self._meter.count("relabel_worker_restarts", 1 if again else 0)
            self._worker = {"node": context.get_node_id(), "actor": context.get_actor_id()}

    def shard(self, rows: int, seconds: float, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Record a shard; returns what its marker says of the worker: node, actor and process."""
        import os

        self._meter.count("relabel_pairs", rows)
        self._meter.count("relabel_tokens", facts.get("tokens") or 0)
        self._meter.observe("relabel_shard_seconds", seconds)
        reasons = facts.get("quarantined")
        for reason, bad in (reasons if isinstance(reasons, Mapping) else {}).items():
            self._meter.count("relabel_quarantined", bad, reason=reason)
        return self._worker | {"process": os.getpid()}
