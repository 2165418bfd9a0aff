"""What a run refuses before it spends anything: another recipe or judge in its folder, a test set of no use."""

from __future__ import annotations

import pytest
import yaml

from jobs.recipe import load_recipe, section_values
from jobs.run import Run
from jobs.run_guards import RECIPE, check_test, same_recipe
from relabel.errors import CircularEvidence, ConfigError, InputError
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import TableWriter

TEXT = """
name: mine
seed: 4
prepare: {dataset: data, format: beir}
human: {dataset: data, format: beir}
test: {dataset: data, format: beir, label_source: human}
judge: {engine: vllm, model: m, prompt: binary, max_document_tokens: 77}
judge_training: {epochs: 2, batch: 8}
reranker: {loss: lce}
"""


@pytest.fixture
def recipe(tmp_path):
    """Loads the recipe with assignments."""
    (tmp_path / "mine.yaml").write_text(TEXT)
    return lambda *assignments: load_recipe(str(tmp_path / "mine.yaml"), list(assignments))


@pytest.fixture
def folder(tmp_path, recipe):
    """A run folder in which the recipe was begun and nothing was finished."""
    run = Folder(tmp_path / "run")
    Run(recipe(), run, lambda line: None)
    assert run.exists(RECIPE)
    return run


def test_a_recipe_may_change_where_nothing_was_begun(recipe, folder):
    """A wrong address is corrected in the same folder; so is anything of a stage that has not begun."""
    same_recipe(recipe("prepare.dataset=other", "reranker.loss=mse", "evaluate.gain=exponential"), folder)


def test_what_becomes_of_written_queries_may_change_until_it_is_done(recipe, tmp_path):
    """Queries that are written stay; the threshold may be lowered after an error about it, in the same folder."""
    written = ("generation={documents: 9}", "weak_training={epochs: 1}")
    run = Folder(tmp_path / "written")
    Run(recipe(*written), run, lambda line: None)
    run.write_json("weak/documents/table.json", {})
    same_recipe(recipe(*written, "generation.least_similarity=0.2", "generation.actors=3"), run)
    with pytest.raises(ConfigError, match=r"generation\.documents: found 9, and now 8"):
        same_recipe(recipe(*written, "generation.documents=8"), run)
    run.write_json("weak/table.json", {})
    with pytest.raises(ConfigError, match=r"generation\.least_similarity"):
        same_recipe(recipe(*written, "generation.least_similarity=0.2"), run)


def test_what_was_begun_keeps_its_recipe(recipe, folder):
    """Pairs that were prepared, a judge that trains and labels that exist refuse another recipe, by key."""
    folder.write_json("pairs/table.json", {})
    with pytest.raises(ConfigError, match=r"prepare\.dataset: found 'data', and now 'other'; .* choose another --out"):
        same_recipe(recipe("prepare.dataset=other"), folder)
    folder.write_json("judge/training-started.json", {})
    with pytest.raises(ConfigError, match=r"judge\.prompt: found 'binary', and now 'graded-0-3'"):
        same_recipe(recipe("judge.prompt=graded-0-3"), folder)
    folder.write_json("labels/keep/plan.json", {})
    with pytest.raises(ConfigError, match=r"adjust\.rules"):
        same_recipe(recipe("adjust.rules=[replace]"), folder)


def test_a_run_that_an_older_version_began_goes_on(recipe, folder):
    """A saved recipe lacks keys that came later: at their defaults they are no change, set they are."""
    folder.write_json("pairs/table.json", {})
    saved = yaml.safe_load(folder.read_bytes(RECIPE))
    del saved["prepare"]["max_pairs_per_query"]
    folder.write_bytes(RECIPE, yaml.safe_dump(saved).encode())
    same_recipe(recipe(), folder)
    with pytest.raises(ConfigError, match=r"prepare\.max_pairs_per_query: found None, and now 9"):
        same_recipe(recipe("prepare.max_pairs_per_query=9"), folder)


def test_speed_and_prices_may_always_change(recipe, folder):
    """Actors, workers, micro-batches and prices change no result, so a begun run takes others."""
    for file in ("pairs/table.json", "judge/training-started.json", "rerankers/keep/training-started.json"):
        folder.write_json(file, {})
    changes = ("judge.actors=4", "judge.num_gpus=1", "judge_training.workers=2", "reranker.micro_batch=1")
    same_recipe(recipe(*changes, "prices.actor_hour=2"), folder)


def test_a_run_keeps_its_judge(recipe, folder):
    """Another judge id, as on a machine that computes in another dtype, is refused with both names."""
    first = Run(recipe(), folder, lambda line: None)
    first.same_judge("vllm-aaaa")
    first.finish()
    Run(recipe(), folder, lambda line: None).same_judge("vllm-aaaa")
    with pytest.raises(ConfigError, match=r"judge_id: found vllm-aaaa, and here it would be vllm-bbbb; .*judge\.dtype"):
        Run(recipe(), folder, lambda line: None).same_judge("vllm-bbbb")


def test_running_a_finished_run_again_changes_no_record(recipe, folder):
    """When nothing was left to do, the moment, versions and hardware of the run stay what they were."""
    run = Run(recipe(), folder, lambda line: None)
    run.stage("prepare pairs", False, dict)
    run.finish()
    before = folder.read_json("run.json") | {"versions": {"relabel": "0.0"}, "finished": "then"}
    folder.write_json("run.json", before)
    again = Run(recipe(), folder, lambda line: None)
    again.stage("prepare pairs", True, dict)
    again.finish()
    assert folder.read_json("run.json") == before


def _write(folder: Folder, pairs) -> None:
    writer = TableWriter(folder, "pairs", Scale((0, 1), 1))
    writer.write(pairs)
    writer.finish()


def test_a_test_set_without_ranks_is_refused_before_training(recipe, folder, make_pairs):
    """The error comes when the tables are there, and says both ways out."""
    _write(folder / "test", make_pairs([("q", "d", "what", "text", 1)], "human"))
    with pytest.raises(InputError, match=r"no first-stage ranks; .*first_stage: false"):
        check_test(recipe(), folder)


@pytest.mark.parametrize("table", ["pairs", "human"])
def test_test_queries_that_would_be_trained_on_are_refused_before_training(recipe, folder, make_pairs, table):
    """A test query among those to train on, written otherwise, is circular evidence unless it is allowed."""
    _write(folder / "test", make_pairs([("q", "d", "What is IT", "text", 1)], "human"))
    for name in ("pairs", "human"):
        _write(folder / name, make_pairs([("x", "d", "what  is it" if name == table else "else", "text", 1)]))
    without_ranks = "evaluate.first_stage=false"
    with pytest.raises(CircularEvidence, match=rf"also in .*/{table}, which is trained on, such as 'what  is it'"):
        check_test(recipe(without_ranks), folder)
    check_test(recipe(without_ranks, "evaluate.allow_seen_queries=true"), folder)


def test_a_section_alone_has_what_a_run_gives_it(tmp_path, recipe):
    """`--recipe` of a single stage takes the recipe's seed, and training what the section `judge` says."""
    recipe()
    values = section_values(str(tmp_path / "mine.yaml"), "judge_training")
    assert values == {
        "seed": 4,
        "epochs": 2,
        "batch": 8,
        "model": "m",
        "prompt": "binary",
        "examples": None,
        "max_document_tokens": 77,
        "max_query_tokens": 96,
    }
    assert section_values(str(tmp_path / "mine.yaml"), "judge").get("seed") is None
    with pytest.raises(ConfigError, match="no section 'evaluate'"):
        section_values(str(tmp_path / "mine.yaml"), "evaluate")


def test_the_gate_may_change_in_a_run_that_it_stopped(recipe, folder):
    """Nothing that is done depends on the gate, so a begun run takes another."""
    for file in ("pairs/table.json", "evidence/agreement.json", "evidence/judgements/plan.json"):
        folder.write_json(file, {})
    same_recipe(recipe("gate.on_failure=warn", "gate.beat=[]"), folder)


def test_calibration_needs_grades_that_test_nothing(recipe, folder, make_pairs):
    """Without `held_out`, or with test queries in it, calibrated labels would be circular evidence."""
    with pytest.raises(ConfigError, match=r"a key 'held_out' where 'calibration' is set: .* circular"):
        recipe("calibration={}")
    settings = ("held_out={dataset: data, format: beir}", "calibration={}", "evaluate.first_stage=false")
    for name, text in (("test", "what is it"), ("pairs", "else"), ("human", "else"), ("held_out", "What is it")):
        _write(folder / name, make_pairs([("q", "d", text, "text", 1)], "human"))
    with pytest.raises(CircularEvidence, match=r"also in .*/held_out"):
        check_test(recipe(*settings), folder)
    with pytest.raises(ConfigError, match=r"either 'calibration' or 'judge\.calibration'"):
        recipe(*settings, "judge.calibration=there/calibration.json")


def test_a_promise_needs_grades_that_fitted_nothing(recipe):
    """at-precision asks for held-out grades, and for a part of them that the calibration does not use."""
    rule = "adjust.rules=[at-precision]"
    with pytest.raises(ConfigError, match=r"a key 'held_out' for the rule at-precision: .* circular"):
        recipe(rule)
    held_out = "held_out={dataset: data, format: beir}"
    with pytest.raises(ConfigError, match=r"a key 'calibration\.reserve' such as 0\.5"):
        recipe(rule, held_out, "calibration={}")
    assert recipe(rule, held_out, "calibration={reserve: 0.5}").promises == ["at-precision"]
