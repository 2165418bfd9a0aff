"""A recipe: one YAML file that says what all stages do. Unknown and ill-typed keys are refused by name.

Addresses that one stage gives to the next (`judge.pairs`, `reranker.labels`, …) are filled in by `relabel run` and are
no recipe keys. `--set a.b=c` changes a key; `${NAME}` in a value is an environment variable, `${NAME:-default}` one
with a default.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from jobs.options import assigned
from relabel.agreement.gate import GateConfig
from relabel.calibration.fit import CalibrateConfig
from relabel.config import Config
from relabel.errors import ConfigError
from relabel.evidence.evaluate import EvaluateConfig
from relabel.generation import GenerateConfig
from relabel.judges import JudgeConfig
from relabel.judges.config import PROMPTED
from relabel.labels import AnyRule, AtPrecision, Keep
from relabel.prepare import PrepareConfig
from relabel.robustness.config import RobustnessOptions
from relabel.storage import Folder
from train.judge_config import JudgeTrainingConfig
from train.reranker import RerankerConfig

#: What a recipe leaves to the run.
FILLED_IN = "(filled in by the run)"
#: Sections whose stage takes the recipe's seed unless they have their own.
SEEDED = (
    "prepare",
    "weak",
    "human",
    "held_out",
    "test",
    "generation",
    "weak_training",
    "judge_training",
    "calibration",
    "robustness",
    "reranker",
    "evaluate",
)
#: Keys of a section that say something to a run and nothing to the stage alone.
RUN_ALONE = {"generation": ("documents_from",), "evaluate": ("prediction_powered",)}
#: What training the judge takes from the section `judge`, since both must agree on it.
FROM_JUDGE = ("model", "prompt", "examples", "max_document_tokens", "max_query_tokens")
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def _filled(*names: str, inherited: tuple[str, ...] = ()) -> BeforeValidator:
    """Refuses keys that the run fills in, and puts a stand-in for the addresses among them (`names`)."""

    def fill(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = [name for name in (*names, *inherited) if name in values]
        if given:
            raise ValueError(f"no key {given[0]!r}: the run fills it in")
        return values | dict.fromkeys(names, FILLED_IN)

    return BeforeValidator(fill)


class AdjustSection(Config):
    """Rules to try; a re-ranker is trained on the labels of each. `keep` (the original labels) is always among them."""

    rules: list[AnyRule] = Field(default_factory=list)


class GenerationSection(GenerateConfig):
    """Written queries as weak labels.

    Attributes:
        documents_from: the table whose documents get queries: `pairs`, the set to re-label, or `human`.
        model: the causal LM that writes; null: the recipe's `judge.model`.
    """

    documents_from: Literal["pairs", "human"] = "pairs"
    model: str | None = None


class EvaluateSection(EvaluateConfig):
    """How the re-rankers are measured.

    Attributes:
        prediction_powered: let the run's judge grade the test pairs, too, for means over the queries that no
            person graded.
    """

    prediction_powered: bool = False


class Prices(Config):
    """What an hour of one actor or training worker costs, for the report; 0 where nobody pays."""

    actor_hour: float = Field(0.0, ge=0)
    currency: str = "USD"


class Recipe(Config):
    """All stages of a run.

    Attributes:
        name: of the run.
        seed: of every stage that does not set its own.
        prepare: the ranking set to re-label.
        weak: labels that cost nothing (known answers, clicks), which the judge learns before any human grade.
        generation: written queries instead of `weak`.
        human: human grades that the judge is trained on; needed by `judge_training`.
        held_out: human grades that the judge is measured on; default: those of `test`.
        test: human grades that the re-rankers are tested on.
        weak_training: how the judge learns `weak` or `generation`; its model is what `judge_training` starts from.
        judge_training: how the judge is fine-tuned; left out: `judge.model` judges as it is.
        robustness: how far the judge's grades move when the held-out pairs are perturbed; left out: not tried.
        gate: what the judge must reach on held-out grades before it relabels.
        calibration: how its probabilities are fitted to the held-out grades; left out: they stay raw.
        judge, adjust, reranker, evaluate: see the stages.
        repeats: re-rankers that are trained for each rule, with different seeds; values are means over them.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(13, ge=0)
    prepare: PrepareConfig
    weak: PrepareConfig | None = None
    human: PrepareConfig | None = None
    held_out: PrepareConfig | None = None
    test: PrepareConfig
    generation: Annotated[GenerationSection, _filled("pairs", inherited=("human", "leave_out"))] | None = None
    weak_training: Annotated[JudgeTrainingConfig, _filled("pairs", inherited=FROM_JUDGE)] | None = None
    judge_training: Annotated[JudgeTrainingConfig, _filled("pairs", inherited=FROM_JUDGE)] | None = None
    judge: Annotated[JudgeConfig, _filled("pairs")]
    robustness: RobustnessOptions | None = None
    gate: GateConfig = GateConfig()
    calibration: Annotated[CalibrateConfig, _filled("judgements", "human")] | None = None
    adjust: AdjustSection = AdjustSection()
    reranker: Annotated[RerankerConfig, _filled("labels")]
    evaluate: Annotated[EvaluateSection, _filled("test", inherited=("models", "judge_folder", "judgements"))]
    repeats: int = Field(1, ge=1, le=100)
    prices: Prices = Prices()

    @model_validator(mode="after")
    def _judge_can_be_trained(self) -> Recipe:
        if self.judge_training and not self.human:
            raise ValueError("a key 'human' (human grades to train the judge on) where 'judge_training' is set")
        if self.judge_training and self.judge.engine not in PROMPTED:
            raise ValueError(f"no 'judge_training' with the engine {self.judge.engine}, which asks no language model")
        if self.weak and self.generation:
            raise ValueError("either 'weak' (labels of a dataset) or 'generation' (written queries)")
        if bool(self.weak or self.generation) != bool(self.weak_training):
            missing = "weak' or 'generation" if self.weak_training else "weak_training"
            raise ValueError(
                f"both 'weak' or 'generation' (labels) and 'weak_training' (how they are learned): no {missing!r}"
            )
        if self.weak_training and not self.judge_training:
            raise ValueError("a key 'judge_training' where 'weak_training' is set: human grades say what a grade is")
        return self

    @model_validator(mode="after")
    def _calibration_has_grades(self) -> Recipe:
        if self.calibration and not self.held_out:
            raise ValueError("a key 'held_out' where 'calibration' is set: the test's grades would be circular")
        if self.calibration and self.judge.calibration:
            raise ValueError("either 'calibration' or 'judge.calibration': a judge is calibrated once")
        if self.promises and not self.held_out:
            raise ValueError("a key 'held_out' for the rule at-precision: the test's grades would be circular")
        if self.promises and self.calibration and not self.calibration.reserve:
            raise ValueError("a key 'calibration.reserve' such as 0.5: at-precision needs grades that fitted nothing")
        return self

    @property
    def promises(self) -> list[str]:
        """Folder names of the rules that promise a precision."""
        return [name for name, rule in self.rules.items() if isinstance(rule, AtPrecision)]

    def trainings(self, rule: str) -> list[str]:
        """Folder names of the re-rankers of a rule: `keep`, `keep~2`, …"""
        return [rule, *(f"{rule}~{number}" for number in range(2, self.repeats + 1))]

    @property
    def rules(self) -> dict[str, Any]:
        """Folder name → rule; `keep` first; a rule that comes twice is numbered."""
        named: dict[str, Any] = {}
        for rule in [Keep(), *(rule for rule in self.adjust.rules if not isinstance(rule, Keep))]:
            count = sum(name == rule.name or name.startswith(f"{rule.name}-") for name in named)
            named[f"{rule.name}-{count + 1}" if count else rule.name] = rule
        return named


def load_recipe(name_or_path: str, assignments: list[str] = ()) -> Recipe:
    """Read and validate a recipe: a file, or the name of one that comes with the project.

    Raises:
        ConfigError: for a missing file, no YAML, or a key that is unknown or ill-typed.
    """
    values, where = recipe_values(name_or_path)
    values = assigned(values, list(assignments))
    values.setdefault("evaluate", {})
    for section in SEEDED:
        if isinstance(values.get(section), dict):
            values[section] = _seed_of(values) | values[section]
    return Recipe.load(values, where)


def section_values(name_or_path: str, section: str) -> dict[str, Any]:
    """The keys of one section as its stage gets them in a run: with the recipe's seed, and what `judge` says of it.

    Raises:
        ConfigError: as `recipe_values`, and where the recipe lacks the section.
    """
    values, where = recipe_values(name_or_path)
    found = values.get(section)
    if not isinstance(found, dict):
        raise ConfigError(where, f"no section {section!r}", "a recipe that has it", f"add '{section}:'")
    if section in SEEDED:
        found = _seed_of(values) | found
    if section in ("judge_training", "weak_training"):
        judge = _of_judge(values)
        found = found | {name: judge[name] for name in FROM_JUDGE}
    found = {key: value for key, value in found.items() if key not in RUN_ALONE.get(section, ())}
    if section == "generation":
        found = {"model": _of_judge(values)["model"]} | found
    if section == "robustness":
        found = found | {"judge": values.get("judge") or {}}
    return found


def _of_judge(values: dict[str, Any]) -> dict[str, Any]:
    """The section `judge` with the defaults of what it leaves out."""
    defaults = {name: field.get_default() for name, field in JudgeConfig.model_fields.items()}
    return defaults | (values.get("judge") or {})


def _seed_of(values: dict[str, Any]) -> dict[str, Any]:
    return {"seed": values.get("seed", Recipe.model_fields["seed"].default)}


def recipe_values(name_or_path: str) -> tuple[dict[str, Any], str]:
    """The keys of a recipe file with its variables filled in, not yet validated, and its name for messages.

    Raises:
        ConfigError: for a missing file, an unset variable, or text that is no YAML mapping.
    """
    text, where = _recipe_text(name_or_path)
    try:
        values = yaml.load(_filled_in(text, where), _UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}", f"no YAML ({getattr(error, 'problem', error)})", "a YAML mapping") from None
    if not isinstance(values, dict):
        raise ConfigError(where, f"{type(values).__name__}", "a YAML mapping with the keys of a recipe")
    return values, where


def known_recipes() -> dict[str, str]:
    """Name → text of the recipes that come with the project."""
    files = resources.files("jobs.recipes").iterdir()
    return {file.name.removesuffix(".yaml"): file.read_text("utf-8") for file in files if file.name.endswith(".yaml")}


def _recipe_text(name_or_path: str) -> tuple[str, str]:
    known = known_recipes()
    if name_or_path in known:
        return known[name_or_path], f"recipe {name_or_path}"
    if name_or_path.startswith("s3://"):
        folder, _, name = name_or_path.rpartition("/")
        return Folder(folder).read_bytes(name).decode("utf-8"), name_or_path
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(
            f"recipe {name_or_path!r}", "no such file", f"a YAML file or one of {', '.join(sorted(known))}"
        )
    try:
        return path.read_text("utf-8"), name_or_path
    except UnicodeDecodeError as error:
        raise ConfigError(name_or_path, f"bytes that are no UTF-8 ({error.reason})", "a YAML file in UTF-8") from None


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that comes twice is an error, since one of the two would be ignored."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _filled_in(text: str, where: str) -> str:
    """A recipe's text with its variables filled in, comments left alone."""
    lines = text.splitlines(keepends=True)
    return "".join(
        line if line.lstrip().startswith("#") else VARIABLE.sub(lambda match: _variable(match, where), line)
        for line in lines
    )


def _variable(match: re.Match, where: str) -> str:
    value = os.environ.get(match[1]) or match[2]  # an empty variable takes the default, as in a shell
    if value is None:
        raise ConfigError(
            where, f"${{{match[1]}}}, which is not set", "an environment variable", f"export {match[1]}=…"
        )
    return value
