"""Recipes: those that come with the project are valid; a bad key is refused by name before any work is done."""

from __future__ import annotations

import pytest

from jobs.cli import main
from jobs.recipe import known_recipes, load_recipe, section_values
from relabel.errors import ConfigError
from relabel.robustness.config import RobustnessConfig

RECIPE = """
name: mine
prepare: {dataset: data, format: beir}
test: {dataset: data, format: beir, label_source: human}
judge: {engine: lexical, prompt: graded-0-3}
reranker: {loss: lce}
"""


@pytest.fixture
def recipe(tmp_path):
    """A minimal valid recipe file."""
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return path


def test_recipes_of_the_project_are_valid(monkeypatch):
    """Each recipe that comes with the project loads, under its own name."""
    for name in known_recipes():
        assert load_recipe(name).name == name


def test_original_labels_are_always_a_rule(recipe):
    """`keep` is tried first, whatever the recipe lists; rules that come twice get different folders."""
    rules = load_recipe(str(recipe), ["adjust.rules=[blend, {rule: blend, alpha: 0.2}, keep]"]).rules
    assert list(rules) == ["keep", "blend", "blend-2"]
    assert rules["blend-2"].alpha == 0.2


def test_seed_reaches_the_stages(recipe):
    """The recipe's seed is every stage's seed, unless the stage has its own."""
    loaded = load_recipe(str(recipe), ["seed=5", "prepare.seed=9"])
    assert (loaded.reranker.seed, loaded.test.seed, loaded.prepare.seed) == (5, 5, 9)


def test_robustness_takes_seed_and_judge_of_the_recipe(recipe):
    """Left out it is not tried; in a run it has the recipe's seed, and its stage alone also the recipe's judge."""
    assert load_recipe(str(recipe)).robustness is None
    recipe.write_text(RECIPE + "seed: 5\nrobustness: {max_pairs: 20}\n")
    loaded = load_recipe(str(recipe)).robustness
    assert (loaded.seed, loaded.max_pairs) == (5, 20)
    values = section_values(str(recipe), "robustness")
    assert values["judge"] == {"engine": "lexical", "prompt": "graded-0-3"}
    assert RobustnessConfig.load(values | {"pairs": "p"}, "recipe").judge.engine == "lexical"


def test_queries_are_written_by_the_judge_unless_another_is_named(tmp_path):
    """`generation.model` follows `judge.model`, in a run and for the stage alone."""
    (tmp_path / "own.yaml").write_text("judge: {model: mine}\ngeneration: {documents: 5, documents_from: human}\n")
    assert section_values(str(tmp_path / "own.yaml"), "generation") == {"model": "mine", "seed": 13, "documents": 5}
    values = section_values("trec-dl", "generation")
    assert values["model"] == "smollm2-135m-instruct"
    assert "documents_from" not in values
    assert load_recipe("trec-dl").generation.model is None


def test_repeats_name_the_trainings_of_a_rule(recipe):
    """One re-ranker a rule, or several with numbered folders."""
    assert load_recipe(str(recipe)).trainings("keep") == ["keep"]
    assert load_recipe(str(recipe), ["repeats=3"]).trainings("keep") == ["keep", "keep~2", "keep~3"]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["jugde.engine=vllm"], r"jugde: found the unknown key 'jugde'.*write 'judge'"),
        (["judge.engin=vllm"], r"judge\.engin: found the unknown key 'engin'.*write 'engine'"),
        (["judge.engine=gpt"], r"judge\.engine: found 'gpt'; wanted 'vllm', 'transformers', .*'lexical'"),
        (["judge.prompt=gradd-0-3"], r"found 'gradd-0-3'.*write 'graded-0-3'"),
        (["judge.max_document_tokens=many"], r"judge\.max_document_tokens: found 'many'; wanted a valid integer"),
        (["judge.shard_rows=0"], r"judge\.shard_rows: found 0; wanted greater than or equal to 1"),
        (["judge.pairs=x"], r"no key 'pairs': the run fills it in"),
        (["reranker.los=lce"], r"found the unknown key 'los'.*write 'loss'"),
        (["reranker.loss=lcee"], r"reranker\.loss"),
        (["reranker.epochs=-1"], r"reranker\.epochs: found -1"),
        (["adjust.rules=[replce]"], r"the unknown rule 'replce'.*write 'replace'"),
        (["adjust.rules=[{rule: blend, alpha: 7}]"], r"alpha"),
        (["prepare.format=bier"], r"prepare\.format: found 'bier'"),
        (["prepare.dataset=3"], r"prepare\.dataset: found 3; wanted a valid string"),
        (["evaluate.gain=cubic"], r"evaluate\.gain"),
        (["robustness.perturbations=[typo]"], r"perturbations: found 'typo'.*write 'typos'"),
        (["robustness.judge={engine: vllm}"], r"found the unknown key 'judge'"),
        (["name=a b"], r"name: found 'a b'"),
        (["prices.actor_hour=-1"], r"prices\.actor_hour: found -1"),
        (["judge_training={epochs: 1}"], r"a key 'human'"),
        (["weak={dataset: d, format: medquad}"], r"both 'weak' or 'generation' .*: no 'weak_training'"),
        (
            ["weak={dataset: d, format: medquad}", "weak_training={epochs: 1}"],
            r"'judge_training' where 'weak_training' is set",
        ),
        (["judge_training={trained_layers: 2, method: lora}"], r"trained_layers with method: full alone"),
        (["judge"], r"--set: found 'judge'; wanted a\.b=c"),
        (["name.x=1"], r"wanted a path through mappings"),
        (["judge.prompt={"], r"wanted a value that is YAML"),
    ],
)
def test_a_bad_key_is_refused_by_name(recipe, assignments, message):
    """Unknown, ill-typed and contradictory keys each give one error that says what to write."""
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(recipe), assignments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", r"bad\.yaml:\d+: found no YAML"),
        ("- a\n- b", r"found list; wanted a YAML mapping"),
        ("", r"found NoneType; wanted a YAML mapping"),
        (RECIPE.replace("dataset: data", "dataset: '${NOT_SET_ANYWHERE}'"), r"NOT_SET_ANYWHERE\}, which is not set"),
        (RECIPE.replace("name: mine\n", ""), r"name: found nothing"),
        (RECIPE + "prepare: {dataset: other, format: beir}", r"bad\.yaml:2: found no YAML \(the key 'prepare' twice\)"),
        (RECIPE.replace("reranker:", "rerankr:"), r"rerankr: found the unknown key 'rerankr'.*write 'reranker'"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, message):
    """Broken YAML names the line, a wrong shape says what is wanted."""
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(tmp_path / "bad.yaml"))


def test_a_recipe_in_another_encoding_is_refused(tmp_path):
    """Latin-1 bytes are an error that names the file."""
    (tmp_path / "bad.yaml").write_bytes("name: gr\xf6\xdfe".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"bad\.yaml: found bytes that are no UTF-8"):
        load_recipe(str(tmp_path / "bad.yaml"))


def test_unknown_recipe_lists_the_known_ones(capsys):
    """The command line prints the error without a traceback and exits with the documented code."""
    assert main(["run", "demmo"]) == ConfigError.exit_code
    assert "wanted a YAML file or one of demo, medquad" in capsys.readouterr().err


def test_environment_variables_have_defaults(recipe, monkeypatch):
    """`${NAME:-default}` takes the variable where it is set."""
    recipe.write_text(RECIPE.replace("dataset: data", "dataset: '${WHERE:-here}/x'", 1))
    assert load_recipe(str(recipe)).prepare.dataset == "here/x"
    monkeypatch.setenv("WHERE", "there")
    assert load_recipe(str(recipe)).prepare.dataset == "there/x"
    monkeypatch.setenv("WHERE", "")
    recipe.write_text(recipe.read_text() + "# a comment may name ${NOT_SET_ANYWHERE}\n")
    assert load_recipe(str(recipe)).prepare.dataset == "here/x"
