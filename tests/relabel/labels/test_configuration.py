"""Choosing a rule in a recipe or on the command line: what is unknown, ill-typed or out of range is named."""

from __future__ import annotations

import pytest

from relabel.config import Config
from relabel.errors import ConfigError
from relabel.labels import AdjustConfig, AnyRule, load_rule
from relabel.labels.blend import Blend
from relabel.labels.keep import Keep


class Recipe(Config):
    """A recipe's part that lists rules."""

    rules: list[AnyRule]


def test_a_recipe_lists_rules_with_their_parameters():
    """A mapping with parameters and a bare name both make rules; the resolved recipe reads back the same."""
    recipe = Recipe.load({"rules": [{"rule": "blend", "alpha": 0.3}, "keep"]}, "recipe.yaml")
    assert recipe.rules == [Blend(alpha=0.3), Keep()]
    resolved = recipe.model_dump(mode="json")
    assert resolved["rules"][0] == {"rule": "blend", "unjudged_weight": 1.0, "alpha": 0.3}
    assert Recipe.load(resolved, "run.json") == recipe


@pytest.mark.parametrize("given", [{"alpha": "0.3"}, {"parameters": {"alpha": 0.3}}])
def test_parameters_stand_beside_the_rule_or_below_it(given):
    """`--set alpha=0.3` and `--set parameters.alpha=0.3` mean the same; text becomes a number."""
    config = AdjustConfig.load({"pairs": "a", "judgements": "b", "rule": "blend", **given}, "relabel adjust")
    assert config.load_rule() == Blend(alpha=0.3)
    assert AdjustConfig.load(config.model_dump(), "run.json") == config


def test_a_key_of_neither_the_stage_nor_the_rule_is_refused():
    """The message names the keys of both, and the nearest."""
    for key, near in (("alhpa", "alpha"), ("judgments", "judgements")):
        with pytest.raises(
            ConfigError,
            match=f"unknown key '{key}'; wanted one of alpha, human, .*judgements, originals, pairs,.* write '{near}'",
        ):
            AdjustConfig.load({"pairs": "a", "judgements": "b", "rule": "blend", key: 1}, "relabel adjust")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"rule": "promote_negatives"},
            r"unknown rule 'promote_negatives'; wanted one of keep, .*write 'promote-negatives'",
        ),
        ({"rule": "blnd"}, r"write 'blend'"),
        ({"rule": 3}, r"unknown rule 3"),
        ({}, r"no key 'rule'"),
        ({"rule": "blend", "alhpa": 0.5}, r"rule blend: alhpa: found the unknown key 'alhpa'.*write 'alpha'"),
        ({"rule": "keep", "alpha": 0.5}, r"unknown key 'alpha'"),
        ({"rule": "blend", "alpha": 1.5}, r"alpha: found 1\.5; wanted less than or equal to 1"),
        ({"rule": "blend", "alpha": "half"}, r"alpha: found 'half'; wanted a valid number"),
        ({"rule": "blend", "alpha": float("nan")}, r"alpha: found nan"),
        ({"rule": "replace", "use": "median"}, r"use: found 'median'; wanted 'expected' or 'argmax'"),
        ({"rule": "drop-uncertain", "max_entropy": -1}, r"max_entropy: found -1"),
        ({"rule": "promote-negatives", "threshold": 70}, r"threshold: found 70"),
    ],
)
def test_what_a_rule_does_not_know_is_refused_by_name(values, message):
    """Unknown rules and parameters name the nearest valid one; values out of range name the range."""
    with pytest.raises(ConfigError, match=message):
        load_rule(values)


def test_the_configuration_of_the_stage_refuses_at_once():
    """A wrong parameter is refused when the configuration is made, before any table is read."""
    with pytest.raises(ConfigError, match=r"adjust keep: .*unknown key 'threshold'"):
        AdjustConfig(pairs="a", judgements="b", rule="keep", parameters={"threshold": 0.5})
    with pytest.raises(ConfigError, match="unknown rule 'x'"):
        Recipe.load({"rules": ["x"]}, "recipe.yaml")
