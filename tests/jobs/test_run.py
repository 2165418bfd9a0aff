"""A whole run from one recipe: the same tables on disk and on S3, and no mixture of two recipes in one folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jobs.adjust import adjust
from jobs.plan import plan
from jobs.recipe import load_recipe
from jobs.run import run
from jobs.summary import metric_table
from relabel.demo import write_beir
from relabel.errors import ConfigError, InputError
from relabel.labels import AdjustConfig
from relabel.planning.estimate import ESTIMATE
from relabel.run_status import table_status
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

#: The demo's recipe without a language model, over a few questions.
LEXICAL = (
    "judge.engine=lexical",
    "judge_training=null",
    "prepare.max_queries=6",
    "prepare.first_stage.depth=8",
    "held_out.max_queries=3",
    "test.first_stage={candidates: corpus, depth: 8}",
    "evaluate.prediction_powered=true",
    "adjust.rules=[]",  # the re-ranker on the original labels alone: each costs a launch on disk and one on S3
    "reranker.epochs=1",
    "robustness={max_pairs: 20, perturbations: [query-repeated, typos], resamples: 100}",
    "evaluate.resamples=100",
    "evaluate.permutations=100",
)
TABLES = {"pairs": "pairs", "test": "pairs", "labels/keep": "labels", "labels/replace": "labels"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> str:
    """The demo's collection in the BEIR layout."""
    folder = tmp_path_factory.mktemp("collection")
    write_beir(folder)
    return str(folder)


@pytest.fixture(scope="module")
def half_graded(collection, tmp_path_factory) -> str:
    """The same documents with seven of the test's questions, of which five have grades."""
    folder = tmp_path_factory.mktemp("test-collection") / "seven"
    shutil.copytree(collection, folder)
    queries = [line for line in _lines(folder / "queries.jsonl") if json.loads(line)["metadata"]["split"] == "test"][:7]
    graded = {json.loads(line)["_id"] for line in queries[:5]}
    header, *grades = _lines(folder / "qrels" / "test.tsv")
    _write(folder / "queries.jsonl", queries)
    _write(folder / "qrels" / "test.tsv", [header, *(line for line in grades if line.split("\t")[0] in graded)])
    return str(folder)


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", "utf-8")


def assert_planned(planned: dict, run: Folder) -> None:
    """The plan named every stage that the run then had, found the tables done that it prepared itself, counted the rows
    and, from 20 pairs a table, the judge's tokens; the report holds both side by side."""
    record = run.read_json("run.json")
    actual = {stage["name"]: stage for stage in record["stages"]}
    stages = {stage["stage"]: stage for stage in planned["stages"]}
    assert set(stages) == set(actual) | {"start"}
    assert all(("done_seconds" in stages[name]) == name.startswith("prepare ") for name in stages)
    for name in ("judge", "judge held-out", "judge test"):
        assert stages[name]["rows"]["value"] == actual[name]["detail"]["rows_in"]
        assert stages[name]["tokens"]["value"] == pytest.approx(actual[name]["detail"]["tokens"], rel=0.5)
    moved = stages["robustness"]["rows"]
    assert moved["low"] <= read_manifest(run / "robustness" / "judgements").rows_in <= moved["high"]
    trained = run.read_json("rerankers/keep/training.json")
    assert stages["train-reranker keep"]["rows"]["value"] == trained["pairs_trained"]
    assert [entry["actors"] for entry in planned["actors"]] == [1, 4]
    report = run.read_bytes("report.html").decode()
    assert "Planned and actual" in report
    assert "Stages that were planned and have finished" in report


@pytest.fixture
def recipe_of(collection, half_graded):
    """The recipe with these keys changed as well."""

    def recipe(*more: str):
        datasets = [f"{table}.dataset={collection}" for table in ("prepare", "human", "held_out")]
        return load_recipe("demo", [*datasets, f"test.dataset={half_graded}", *LEXICAL, *more])

    return recipe


@pytest.mark.timeout(1200)
def test_a_run_on_s3_has_the_tables_of_a_run_on_disk(recipe_of, tmp_path, s3, s3_environment):
    """One recipe, two places: equal pairs, judgements, movements and labels, the same rankings, a report in both; the
    same command again finds everything done. No line and no file of a run holds the store's keys."""
    disk, cloud, said = Folder(tmp_path / "run"), Folder(s3), []
    planned = plan(recipe_of(), disk, str(tmp_path), [1, 4], 20, [], False, lambda line: None)
    disk.write_json(ESTIMATE, planned)
    for folder in (disk, cloud):
        report = run(recipe_of(), folder, log=(lines := []).append)
        said += lines
        assert report == f"{folder.uri}/report.html"
        assert folder.read_bytes("report.html").decode("utf-8").rstrip().endswith("</html>"), lines[-5:]
    run(recipe_of(), cloud, log=(again := []).append)
    for key in (s3_environment.access_key, s3_environment.secret_key):
        assert key not in "\n".join([*said, *again])
        for folder in (disk, cloud):
            names = folder.names(recursive=True)
            assert {"recipe.yaml", "run.json", "report.html"} <= set(names)
            assert [name for name in names if key.encode() in folder.read_bytes(name)] == []
    stages = [line for line in again if line.startswith("— ")]
    assert len(stages) == len(cloud.read_json("run.json")["stages"])
    assert all(line.endswith("done already") for line in stages)
    (judge,) = {name.split("/")[1] for name in disk.names("judgements/", recursive=True)}
    for folder in (disk, cloud):
        tables = {"pairs": (folder / "pairs").uri, "judgements": (folder / "judgements" / judge).uri}
        adjust(AdjustConfig(**tables, rule="replace"), folder / "labels" / "replace", lambda line: None)
    for name, kind in TABLES.items():
        assert read_whole(disk / name, kind).equals(read_whole(cloud / name, kind)), name
    assert read_whole(disk / "judgements" / judge, "judgements").equals(
        read_whole(cloud / "judgements" / judge, "judgements")
    )
    moved, moved_there = (folder.read_json("robustness/robustness.json") for folder in (disk, cloud))
    assert moved == moved_there
    assert moved["perturbations"][0]["broken"], "a lexical judge is fooled by the query's words"
    here, there = (read_whole(folder / "evidence", "rankings") for folder in (disk, cloud))
    assert here.select(["system", "query_id", "doc_id"]).equals(there.select(["system", "query_id", "doc_id"]))
    assert np.abs(here["score"].to_numpy() - there["score"].to_numpy()).max() <= 1e-3
    powered, there = (folder.read_json("evidence/metrics.json")["prediction_powered"] for folder in (disk, cloud))
    assert powered["values"]["keep"]["value"] == pytest.approx(there["values"]["keep"]["value"], abs=1e-3)
    assert {(one["human_queries"], one["judged_queries"]) for one in powered["values"].values()} == {(5, 2)}
    manifest = read_manifest(cloud / "judgements" / judge)
    status = table_status(cloud / "judgements" / judge, 0.0)
    assert status.complete
    assert status.rows_done == status.rows == manifest.rows_in
    assert_planned(planned, disk)
    assert "zero-shot encoder" in metric_table(cloud.read_json("evidence/metrics.json"))
    with pytest.raises(
        ConfigError, match=r"reranker\.epochs: found 1, and now 3; wanted the recipe that this part of the run began"
    ):
        run(recipe_of("reranker.epochs=3"), cloud, log=lines.append)


def test_a_run_that_could_not_end_is_refused_before_it_trains(recipe_of, collection, tmp_path):
    """Prediction-powered means want queries that nobody graded: that is said once the tables are there."""
    folder = Folder(tmp_path / "run")
    recipe = recipe_of(f"test.dataset={collection}", "test.max_queries=5", "test.first_stage.candidates=judged")
    with pytest.raises(InputError, match=r"run/test: found 5 human-labelled and 0 other queries; wanted at least 5"):
        run(recipe, folder, log=lambda line: None)
    assert not folder.exists("judgements")
