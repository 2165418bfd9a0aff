"""Metrics: what Ray's own exporter serves after a stage and a step, and a board that asks for nothing else."""

from __future__ import annotations

import json
import re
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest

from jobs.judge import JudgeWorker, identity, summary
from jobs.shards import Stage, run_stage
from relabel.judges import JudgeConfig
from relabel.judges.config import judge_scale
from relabel.ledger import Marker
from relabel.metrics import METRICS, Meter, StageMeter, exported_names
from relabel.storage import Folder
from tests.jobs.stage_runs import markers, write_pairs

BOARD = Path(__file__).parents[2] / "deploy" / "grafana-relabel.json"
#: What Ray's exporter needs beside Ray itself; `ray[default]` brings them.
EXPORTER = ("opencensus", "opentelemetry.exporter.prometheus")


def ours(labels: str) -> bool:
    """Whether a line is about what this module ran; other tests' stages are in the same exporter."""
    return 'stage="metered"' in labels


def samples(text: str) -> dict[str, dict[str, float]]:
    """Name → labels as text → value of each line of a Prometheus exposition."""
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        found.setdefault(name, {})[labels] = float(value)
    return found


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_ray_exports_what_a_stage_and_a_training_record(tmp_path, make_pairs):
    """After 40 pairs, four of them empty, the exporter of this node serves their counts, shards, reasons and workers,
    and a loss that this process shows."""
    import ray

    for module in EXPORTER:
        if not _there(module):
            pytest.skip(f"Ray's metrics exporter is not installed ({module}): pip install 'ray[default]'")
    rows = [(f"q{i // 4}", f"d{i}", "a tower", " " if i % 10 == 0 else f"tower {i}", 1.0) for i in range(40)]
    write_pairs(Folder(tmp_path / "pairs"), make_pairs(rows))
    config = JudgeConfig(pairs=str(tmp_path / "pairs"), engine="lexical", shard_rows=20)
    stage = Stage(
        "metered", "judgements", identity(config), JudgeWorker, {"config": config, "expected_id": identity(config)},
        config.shard_rows, judge_scale(config), {}, summary,
    )  # fmt: skip
    run_stage(stage, Folder(tmp_path / "pairs"), Folder(tmp_path / "out"))
    workers = [marker["facts"]["worker"] for marker in markers(Folder(tmp_path / "out")).values()]
    assert {worker["node"] for worker in workers} == {ray.get_runtime_context().get_node_id()}
    Meter(training="test").show("relabel_training_loss", 0.75)
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    end = time.monotonic() + 40
    while True:
        found = samples(urlopen(address, timeout=5).read().decode())
        done = {labels: rows for labels, rows in found.get("ray_relabel_pairs_total", {}).items() if ours(labels)}
        if sum(done.values()) == 40 and "ray_relabel_training_loss" in found:
            break
        assert time.monotonic() < end, f"the exporter at {address} shows {done}"
        time.sleep(0.5)
    mine = {name: {k: v for k, v in found[name].items() if ours(k)} for name in found}
    assert [v for k, v in mine["ray_relabel_quarantined_total"].items() if 'reason="empty-text"' in k] == [4.0]
    assert sum(mine["ray_relabel_shard_seconds_count"].values()) == 2
    assert sum(mine["ray_relabel_worker_starts_total"].values()) == 1
    assert sum(mine["ray_relabel_tokens_total"].values()) == 36 * 2
    assert [v for k, v in found["ray_relabel_training_loss"].items() if 'training="test"' in k] == [0.75]


def test_a_worker_that_was_made_again_is_a_restart(monkeypatch):
    """Counted by processes that did a shard; an actor's second process is its restart, another actor's first is not."""
    meter, counted = StageMeter("judge"), []
    monkeypatch.setattr(Meter, "count", lambda self, name, amount, **tags: counted.extend([name] * amount))
    for shard, (actor, process) in enumerate([("a", 1), ("b", 2), ("a", 1), ("a", 3), ("b", 2)]):
        worker = {"node": "n", "actor": actor, "process": process}
        meter.committed(Marker(shard, 10, 9, 1, "", 0, "task", 1.0, 0.0, 1.0, {"worker": worker}))
    assert counted.count("relabel_worker_starts") == 3
    assert counted.count("relabel_worker_restarts") == 1
    assert counted.count("relabel_pairs") == 50
    assert counted.count("relabel_quarantined") == 5


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_the_board_asks_for_metrics_that_exist_and_for_all_of_them():
    """Every metric of ours in the board's queries is one that is exported, and none of ours is missing there."""
    board = json.loads(BOARD.read_text("utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked = {name for query in queries for name in re.findall(r"\bray_relabel_\w+", query)}
    exported = {name: exported_names(name) for name in METRICS}
    assert asked <= {one for names in exported.values() for one in names}
    assert [name for name, names in exported.items() if not asked & set(names)] == []


def test_every_panel_of_the_board_has_a_title_a_place_and_a_query():
    """Grafana 24 columns: no panel beyond them, none over another, each with something to draw."""
    board = json.loads(BOARD.read_text("utf-8"))
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
        assert panel["title"]
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
