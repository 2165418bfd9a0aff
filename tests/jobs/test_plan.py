"""What a recipe will take, counted without running anything: every stage, rows, tokens, other numbers of actors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.cli import main
from jobs.plan_counts import Counts
from jobs.plan_rates import settled_rates
from jobs.plan_work import Stages
from jobs.recipe import load_recipe
from jobs.run import prepare_tables
from relabel.demo import write_beir
from relabel.planning.estimate import estimate
from relabel.storage import Folder
from relabel.tables import read_manifest

#: The demo's recipe with every stage that a run can have, small; GPUs are settled, so that no cluster is asked.
EVERYTHING = (
    "judge.num_gpus=0",
    "judge.actors=2",
    "judge.shard_rows=16",
    "prepare.max_queries=6",
    "human.max_queries=12",
    "held_out.max_queries=4",
    "test.max_queries=6",
    "generation={documents: 40, near: 2}",
    "weak_training={batch: 8, queries_per_document: 3, other_queries: 1, checkpoint_steps: 10}",
    "judge_training.pairs_per_epoch=24",
    "calibration={reserve: 0.5}",
    "robustness={max_pairs: 10, perturbations: [typos, padded]}",
    "adjust.rules=[replace, at-precision]",
    "repeats=2",
)


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> tuple[dict, Folder, list[str]]:
    """The estimate, the run folder with its prepared tables, and what was said."""
    place = tmp_path_factory.mktemp("plan")
    write_beir(place / "collection")
    datasets = [f"{table}.dataset={place / 'collection'}" for table in ("prepare", "human", "held_out", "test")]
    recipe, folder = load_recipe("demo", [*datasets, *EVERYTHING]), Folder(place / "run")
    prepare_tables(recipe, folder, lambda line: None)
    counts = Counts(recipe, folder, 30, str(place))
    rates = settled_rates(counts, False, {}, "", (said := []).append)
    works = Stages(counts, rates).works()
    return estimate(works, rates, [1, 2, 100], 0.5, recipe.seed), folder, said


def test_every_stage_of_such_a_run_is_planned_in_its_order(planned):
    """The names are those of run.json."""
    found, _, _ = planned
    rules = ["keep", "replace", "at-precision"]
    labels = [[f"adjust {rule}", f"train-reranker {rule}", f"train-reranker {rule}~2"] for rule in rules]
    before = ["start", "generate-queries", "train-judge weak", "train-judge", "judge held-out", "agreement", "gate"]
    assert [stage["stage"] for stage in found["stages"]] == [
        *before,
        *["calibrate", "robustness", "judge"],
        *[name for names in labels for name in names],
        *["judge test", "promises", "evaluate"],
    ]


def test_rows_are_those_of_the_tables_and_tokens_of_the_judges_prompts(planned):
    """30 pairs tell the mean of all within its interval; a pair of this prompt has 60 to 110 tokens."""
    found, folder, _ = planned
    stages = {stage["stage"]: stage for stage in found["stages"]}
    for name, table in {"judge": "pairs", "judge held-out": "held_out", "judge test": "test"}.items():
        assert stages[name]["rows"]["value"] == read_manifest(folder / table).rows
        assert 60 <= stages[name]["mean_tokens"] <= 110
        assert stages[name]["tokens"]["low"] < stages[name]["tokens"]["value"] < stages[name]["tokens"]["high"]
    assert stages["train-judge"]["rows"]["value"] == 24
    assert stages["generate-queries"]["rows"]["value"] == 40
    weak = stages["train-judge weak"]["rows"]
    assert weak["value"] == pytest.approx(40 * 0.52 * 4)
    assert weak["low"] < weak["value"] < weak["high"]
    assert stages["evaluate"]["busy_seconds"]["value"] > 0


def test_without_measuring_nothing_is_started_and_every_rate_is_a_default(planned):
    """Nothing is timed; each rate says where it comes from."""
    found, _, said = planned
    assert said == []
    assert {rate["source"].split(" ")[0] for rate in found["rates"].values()} == {"default", "measured"}
    assert found["rates"]["judge"]["source"].startswith("default for")


def test_a_folder_in_which_a_run_is_at_work_is_not_planned_into(tmp_path, capsys):
    """A plan would write its own tables among those of the run."""
    out = Folder(tmp_path / "run")
    holds = "import sys; from relabel.lock import held; from relabel.storage import Folder\n"
    holds += "with held(Folder(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holds, out.uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "held\n"
        assert main(["plan", "demo", "--out", out.uri, "--no-measure"]) == 7
        assert "another run at work in it" in capsys.readouterr().err
        assert out.names(recursive=True) == ["lock/00000001.json"]
        run.stdin.close()


def test_more_actors_take_less_time_down_to_one_shard_each(planned):
    """Two actors are the recipe's; a hundred have no more to do than there are shards, and are paid for."""
    found, _, _ = planned
    one, two, hundred = found["actors"]
    assert one["seconds"]["value"] > two["seconds"]["value"] > hundred["seconds"]["value"]
    assert hundred["money"]["value"] > two["money"]["value"]
    assert found["total"]["seconds"] == two["seconds"]
