"""Adjustment rules: judgements beside original labels become training labels, under a named rule.

Tables in: pairs and judgements; out: labels (`relabel/records.py`). One file a rule, one line in `RULES`. Invariant:
original labels are never overwritten, and every row says which rule did what to it.

Run: `relabel adjust --pairs PAIRS --judgements URI --rule blend --set alpha=0.3 --out LABELS`
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from relabel.config import Config
from relabel.errors import ConfigError
from relabel.labels.adjust import adjust_rows, judgements_of
from relabel.labels.at_precision import AtPrecision
from relabel.labels.blend import Blend
from relabel.labels.change import ChangeCounts
from relabel.labels.demote_positives import DemotePositives
from relabel.labels.drop_uncertain import DropUncertain
from relabel.labels.keep import Keep
from relabel.labels.promote_negatives import PromoteNegatives
from relabel.labels.replace import Replace
from relabel.labels.rule import Action, Decision, Evidence, Rule

RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (Keep, Replace, PromoteNegatives, DemotePositives, DropUncertain, Blend, AtPrecision)
}


def load_rule(values: Mapping[str, Any], where: str = "rule") -> Rule:
    """The rule that `values` describe, e.g. `{"rule": "blend", "alpha": 0.3}`.

    Raises:
        ConfigError: for an unknown rule, and for a parameter that the rule does not have or that is out of range.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(where, f"{type(values).__name__} {values!r}", "a mapping with the key 'rule'")
    name = values.get("rule")
    if name not in RULES:
        near = difflib.get_close_matches(str(name).replace("_", "-"), RULES, n=1, cutoff=0.5)
        found = f"the unknown rule {name!r}" if "rule" in values else "no key 'rule'"
        raise ConfigError(where, found, f"one of {', '.join(RULES)}", f"write {near[0]!r}" if near else "")
    parameters = {key: value for key, value in values.items() if key != "rule"}
    return RULES[name].load(parameters, f"{where} {name}")


def _rule_from(value: Any) -> Rule:
    return value if isinstance(value, Rule) else load_rule({"rule": value} if isinstance(value, str) else value)


#: A field of a recipe that holds a rule: `replace`, `{rule: blend, alpha: 0.3}` or a loaded rule.
AnyRule = Annotated[Rule, BeforeValidator(_rule_from), PlainSerializer(lambda rule: rule.to_json(), return_type=dict)]


class AdjustConfig(Config):
    """What `relabel adjust` needs.

    The chosen rule's parameters may stand beside the other keys (`--rule blend --set alpha=0.3`, as in a recipe's list
    of rules) or under `parameters`.
    """

    pairs: str = Field(description="URI of the pairs table that was judged")
    judgements: str = Field(description="URI of the judgements table")
    human: str = Field("", description="URI of pairs with human grades; at-precision learns its thresholds on them")
    human_judgements: str = Field("", description="URI of the judge's judgements of these, raw or calibrated alike")
    originals: str = Field(
        "", description="URI of pairs with the original labels of the human pairs, made as those of `pairs` were"
    )
    rule: str = Field("replace", description=f"one of {', '.join(RULES)}")
    parameters: dict[str, Any] = Field(default_factory=dict, description="the rule's parameters, name to value")

    @model_validator(mode="before")
    @classmethod
    def _parameters_beside_keys(cls, values: dict[str, Any]) -> dict[str, Any]:
        beside = {key: value for key, value in values.items() if key not in cls.model_fields}
        rule = RULES.get(values.get("rule", cls.model_fields["rule"].default), Rule)
        for key in beside:
            if key not in rule.model_fields:
                names = sorted({*cls.model_fields, *rule.model_fields})
                near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
                wanted = f"one of {', '.join(names)}"
                raise ConfigError("adjust", f"the unknown key {key!r}", wanted, f"write {near[0]!r}" if near else "")
        rest = {key: value for key, value in values.items() if key not in beside}
        below = rest.get("parameters", {})
        return rest | {"parameters": {**below, **beside}} if isinstance(below, dict) else rest

    @model_validator(mode="after")
    def _rule_is_known(self) -> Self:
        self.load_rule()
        return self

    def load_rule(self) -> Rule:
        """The chosen rule with its parameters; raises ConfigError as `load_rule` does."""
        return load_rule({**self.parameters, "rule": self.rule}, "adjust")


__all__ = [
    "RULES",
    "Action",
    "AdjustConfig",
    "AnyRule",
    "AtPrecision",
    "ChangeCounts",
    "Decision",
    "Evidence",
    "Rule",
    "adjust_rows",
    "judgements_of",
    "load_rule",
]
