"""The main job, small: `relabel demo` with real models, from collection to report, and once more for nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from relabel.records import JUDGEMENTS, LABELS, PAIRS, RANKINGS
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole

#: The demo's recipe, cut to what shows that every stage works.
SMALL = (
    "prepare.max_queries=8",
    "prepare.first_stage.depth=10",
    "held_out.max_queries=4",
    "test.max_queries=8",
    "judge_training.epochs=1",
    "judge_training.pairs_per_epoch=16",
    "judge_training.validation_pairs=16",
    "judge.kv_cache_gib=1",
    "adjust.rules=[replace]",
    "reranker.epochs=1",
    "evaluate.resamples=200",
    "evaluate.permutations=500",
)
#: Questions that a language model writes, learned first.
WRITTEN = (
    "generation={documents: 12, near: 2, least_similarity: -1, kv_cache_gib: 1, max_document_tokens: 64}",
    "weak_training={batch: 2, balance: natural, queries_per_document: 3, other_queries: 2, validation_fraction: 0}",
)


def _demo(out: Path, assignments: tuple[str, ...]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jobs.demo", "--out", str(out)]
    command += [part for assignment in assignments for part in ("--set", assignment)]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=1500)


@pytest.mark.integration
@pytest.mark.end_to_end
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("more", [(), pytest.param(WRITTEN, marks=pytest.mark.long)], ids=["demo", "written"])
def test_the_whole_job_from_collection_to_report(tmp_path, more):
    """One command makes every table and the report; the same command again finds everything done."""
    first = _demo(tmp_path / "run", SMALL + more)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    run = Folder(tmp_path / "run")
    _tables_are_as_documented(run, {"weak/written": PAIRS, "weak": PAIRS} if more else {})
    _labels_keep_their_history(run)
    _evidence_is_not_circular(run)
    record = run.read_json("run.json")
    assert record["finished"]
    assert all(stage["finished"] for stage in record["stages"])
    assert record["recipe"]["judge"]["engine"] == "vllm"
    report = run.read_bytes("report.html").decode("utf-8")
    assert "</html>" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    last_line = first.stdout.strip().splitlines()[-1]
    assert last_line == f"report: {tmp_path / 'run'}/report.html"
    again = _demo(tmp_path / "run", SMALL + more)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    stages = [line for line in again.stdout.splitlines() if line.startswith("— ")]
    assert len(stages) == len(record["stages"])
    assert all(line.endswith("done already") for line in stages)


def _tables_are_as_documented(run: Folder, more: dict) -> None:
    (judge,) = {name.split("/")[1] for name in run.names("judgements/", recursive=True)}
    tables = {
        "pairs": PAIRS,
        "human": PAIRS,
        "held_out": PAIRS,
        "test": PAIRS,
        f"judgements/{judge}": JUDGEMENTS,
        "labels/keep": LABELS,
        "labels/replace": LABELS,
        "evidence": RANKINGS,
        **more,
    }
    for name, schema in tables.items():
        folder = run / name
        manifest = read_manifest(folder)
        assert manifest.rows_in == manifest.rows + manifest.quarantined, name
        files = [pq.read_table(folder.path(part)) for part in manifest.parts]
        assert sum(file.num_rows for file in files) == manifest.rows > 0, name
        assert all(file.schema.equals(schema) for file in files), name


def _labels_keep_their_history(run: Folder) -> None:
    pairs = read_whole(run / "pairs", "pairs")
    keep, replace = (read_whole(run / "labels" / rule, "labels") for rule in ("keep", "replace"))
    assert keep["original_label"].equals(pairs["label"])
    assert replace["original_label"].equals(pairs["label"])
    assert keep["label"].to_pylist() == pairs["label"].to_pylist()
    assert replace["label"].to_pylist() != pairs["label"].to_pylist()
    assert (run / "labels" / "replace").read_json("change.json")


def _evidence_is_not_circular(run: Folder) -> None:
    metrics = run.read_json("evidence/metrics.json")
    assert set(metrics["values"]) >= {"keep", "replace", "zero-shot encoder", "first stage (BM25)"}
    for values in metrics["values"].values():
        primary = values[metrics["primary"]]
        assert 0 <= primary["low"] <= primary["value"] <= primary["high"] <= 1
    agreement = run.read_json("evidence/agreement.json")
    assert agreement["queries_seen"] == 0
    assert agreement["verdict"]
    assert json.dumps(agreement)
