"""What the README and docs/ say can be typed: recipes validate, commands parse, links lead somewhere, tables agree."""

from __future__ import annotations

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from jobs.cli import COMMANDS, STAGES, _add_stage
from jobs.options import config_values
from jobs.recipe import Recipe, load_recipe, section_values
from relabel.formats import READERS, WRITERS
from relabel.judges import ENGINES
from relabel.labels import RULES
from relabel.prompts import PROMPTS
from relabel.records import SCHEMAS
from relabel.robustness import PERTURBATIONS
from train.losses import LOSSES

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "SECURITY.md")
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
README = (ROOT / "README.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language; the empty string: those that name none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for name, body in fenced if name == language]


def relabel_commands(text: str) -> list[str]:
    """Every `relabel …` line of the fenced blocks."""
    lines = (line.strip() for block in blocks(text, "") for line in block.replace("\\\n", " ").splitlines())
    return [line.split("  #")[0] for line in lines if line.startswith("relabel ")]


COMMAND_LINES = [(page.name, line) for page in PAGES for line in relabel_commands(page.read_text("utf-8"))]


def test_the_readme_has_commands_to_check():
    """The checks below look at something: at least one example of every stage stands in the README."""
    shown = {line.split()[1] for page, line in COMMAND_LINES if page == "README.md"}
    assert set(STAGES) <= shown


@pytest.mark.parametrize(("page", "line"), COMMAND_LINES, ids=[line for _, line in COMMAND_LINES])
def test_a_command_of_the_documentation_is_accepted(page, line):
    """Options and values of every example are accepted by the command line and the stage's configuration."""
    words = shlex.split(line)[1:]
    parser = argparse.ArgumentParser()
    if words[0] in COMMANDS:
        import_module(COMMANDS[words[0]][0]).add_arguments(parser)
        parser.parse_args(words[1:])
        return
    stage = STAGES[words[0]]
    _add_stage(parser, words[0], stage)
    options = parser.parse_args(words[1:])
    base = section_values(options.recipe, stage.section) if getattr(options, "recipe", None) else {}
    config = stage.load()[0]
    config.load(config_values(options, config, base), page)


def test_the_recipe_of_the_readme_is_valid(tmp_path):
    """The recipe for one's own data is accepted as it stands; it trains a judge, and a re-ranker for each rule."""
    (text,) = blocks(README, "yaml")
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    recipe = load_recipe(str(path))
    assert list(recipe.rules) == ["keep", "replace", "blend"]
    assert recipe.judge_training is not None
    assert recipe.human.scale.grades == [0, 1, 2, 3]


def test_the_readme_explains_every_key_of_a_recipe():
    """The table of the recipe's keys names all of them and none that does not exist."""
    table = README.partition("## The recipe")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z_]+)`", " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))
    assert sorted(named) == sorted(Recipe.model_fields)


@pytest.mark.parametrize(
    "registry",
    [READERS, WRITERS, PROMPTS, ENGINES, RULES, LOSSES, PERTURBATIONS],
    ids=["in", "out", "prompts", "engines", "rules", "losses", "perturbations"],
)
def test_the_readme_names_every_choice(registry):
    """Every format, prompt, engine, rule, loss and perturbation that can be chosen is in the README."""
    assert [name for name in registry if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", README)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    """Every relative link leads to a file or folder of the repository."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page):
    """Every path below relabel/, train/, jobs/, tests/, benchmarks/, locks/ or deploy/ that a page names is there."""
    named = re.findall(r"`((?:relabel|train|jobs|tests|benchmarks|locks|deploy)/[\w./-]*)`", page.read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_tables_page_has_the_schemas(kind):
    """docs/tables.md lists the columns of every table in their order with their types."""
    page = (ROOT / "docs" / "tables.md").read_text("utf-8")
    section = re.search(rf"^## {kind}\b.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    assert section, f"no section {kind}"
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section[0], re.MULTILINE)
    wanted = [(field.name, _type_of(field)) for field in SCHEMAS[kind]]
    assert rows == wanted


def _type_of(field) -> str:
    name = (
        str(field.type).replace("list<element: float>", "list of float").replace("list<item: float>", "list of float")
    )
    return name + (", null" if field.nullable else "")


def test_the_exit_codes_of_the_readme_are_those_of_the_code():
    """Each error class's exit code is in the README's list."""
    from relabel import errors

    listed = README.partition("**Exit codes.**")[2].partition("\n\n")[0]
    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type)}
    assert {int(code) for code in re.findall(r"(?:^|· ?|\n)\s*(\d+) ", listed)} == codes | {0, 130}


def test_the_recipes_that_come_with_the_project_are_yaml_with_a_comment():
    """Each recipe says in its first lines what it is for."""
    for path in (ROOT / "jobs" / "recipes").glob("*.yaml"):
        text = path.read_text("utf-8")
        assert text.startswith("# "), path
        assert isinstance(yaml.safe_load(text), dict)
