"""Metrics for Prometheus through Ray's own exporter: what sharded stages and trainings count, and under which names.

Every node of a Ray cluster that has `ray[default]` exports them at the `MetricsExportPort` of `ray.nodes()`;
`deploy/grafana-relabel.json` is a board of them. A stage records them in its driver, once a committed shard
(`StageMeter`), so that they are the books' own numbers; a training in its workers, once a step.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

from relabel.ledger import Marker


@dataclass(frozen=True)
class Metric:
    """A metric of ours: kind, meaning, tags."""

    kind: Literal["counter", "gauge", "histogram"]
    about: str
    tags: tuple[str, ...]


#: Upper bounds of the shard histogram's buckets, seconds.
BOUNDS = [1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600]
METRICS: dict[str, Metric] = {
    "relabel_pairs": Metric("counter", "Rows of committed shards", ("stage",)),
    "relabel_tokens": Metric("counter", "Prompt tokens that engines were given", ("stage",)),
    "relabel_quarantined": Metric("counter", "Rows that went to quarantine", ("stage", "reason")),
    "relabel_shard_seconds": Metric("histogram", "Seconds of work of a shard", ("stage",)),
    "relabel_worker_starts": Metric("counter", "Workers (engines) that did a shard", ("stage",)),
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


class StageMeter:
    """Records a sharded stage in its driver, by the markers that were committed: counts are those of the books.

    Ray loses what a worker recorded in the seconds before its end, and a stage's workers end with their last shard.

    Args:
        stage: the stage's name.
    """

    def __init__(self, stage: str):
        self._meter = Meter(stage=stage)
        self._processes: dict[Any, set[tuple]] = defaultdict(set)

    def committed(self, marker: Marker) -> None:
        """Count a shard, and its worker where it is the first of that process."""
        facts = marker.facts
        self._meter.count("relabel_pairs", marker.rows_in)
        self._meter.count("relabel_tokens", facts.get("tokens") or 0)
        self._meter.observe("relabel_shard_seconds", marker.busy_seconds)
        for reason, bad in marker.quarantined_by_reason.items():
            self._meter.count("relabel_quarantined", bad, reason=reason)
        node, actor, process = marker.worker
        if (node, process) not in self._processes[actor]:
            self._meter.count("relabel_worker_starts", 1)
            self._meter.count("relabel_worker_restarts", 1 if self._processes[actor] else 0)
            self._processes[actor].add((node, process))
