"""The gate: whether a judge agrees with people well enough to relabel anything, by what a recipe asks of it.

In: `agreement.json` of the judge on held-out human grades; out: `gate.json` and, where the judge fails and the recipe
says stop, a `GateError`. Invariants: a value without an interval, or without the comparison that is asked for, fails;
what passes with `bound: lower` is shown by the data and not only found in them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relabel.agreement.measure_judge import BM25, ENCODER
from relabel.agreement.verdict import headline_auc, number, with_interval
from relabel.config import Config
from relabel.errors import GateError
from relabel.storage import Folder

GATE = "gate.json"
Bound = Literal["lower", "value"]
#: What can be required: name → (words, where agreement.json has it). AUCs are those at `relevant_from`.
METRICS = {
    "auc": ("AUC over all pairs", ("pooled",)),
    "auc-within-query": ("AUC inside a query", ("within_query",)),
    "accuracy": ("share of equal grades", ("accuracy",)),
    "kappa": ("Cohen's κ", ("kappa", "unweighted")),
    "kappa-linear": ("Cohen's κ with linear weights", ("kappa", "linear")),
    "kappa-quadratic": ("Cohen's κ with quadratic weights", ("kappa", "quadratic")),
    "kappa-relevant": ("Cohen's κ of relevant or not", ("binary", "kappa")),
    "kendall": ("Kendall's τ inside a query", ("kendall",)),
}
#: Scorers that cost next to nothing, as agreement.json names them.
FREE = {"bm25": BM25, "encoder": ENCODER}


class Requirement(Config):
    """One number of the agreement, and the least that will do.

    Attributes:
        metric: `auc`, `auc-within-query`, `accuracy`, `kappa`, `kappa-linear`, `kappa-quadratic`, `kappa-relevant` or
            `kendall`.
        at_least: the least acceptable.
        bound: `lower`: the lower end of the 95 % interval must reach it; `value`: the value alone.
    """

    metric: Literal[tuple(METRICS)]
    at_least: float = Field(ge=-1, le=1)
    bound: Bound = "lower"


class GateConfig(Config):
    """What a judge must reach before it relabels; by default better than chance, BM25 and the zero-shot encoder.

    Attributes:
        requirements: of its agreement with people.
        beat: `bm25`, `encoder`: scorers whose AUC on the same pairs must be lower than the judge's.
        beat_in: AUC inside each query, where a re-ranker works, or over all pairs.
        beat_bound: `lower`: the paired difference's interval must lie above 0; `value`: the difference alone.
        on_failure: `stop` the run before anything is relabelled, or `warn` and go on at one's own risk.
    """

    requirements: list[Requirement] = Field(default_factory=lambda: [Requirement(metric="auc", at_least=0.5)])
    beat: list[Literal["bm25", "encoder"]] = Field(default_factory=lambda: ["bm25", "encoder"])
    beat_in: Literal["within_query", "pooled"] = "within_query"
    beat_bound: Bound = "lower"
    on_failure: Literal["stop", "warn"] = "stop"


def gate(config: GateConfig, agreement: dict) -> dict:
    """The gate's verdict on `agreement.json`.

    Returns:
        JSON values: `passed`, `on_failure`, `checks` (each with `what`, `found` {value, low, high} or null, `bound`,
        `at_least`, `strictly`, `short_by` or null where it cannot be told, `passed`) and `sentences`, one a check.
    """
    checks = [_required(one, agreement) for one in config.requirements]
    checks += [_beaten(name, config, agreement) for name in config.beat]
    return {
        "passed": all(check["passed"] for check in checks),
        "on_failure": config.on_failure,
        "checks": checks,
        "sentences": [_sentence(check) for check in checks],
    }


def pass_gate(config: GateConfig, agreement: dict, out: Folder) -> dict:
    """Write the verdict to `gate.json` in `out`; returns it.

    Raises:
        GateError: where the judge fails and `on_failure` is stop; the verdict is written before.
    """
    found = gate(config, agreement)
    out.write_json(GATE, found)
    if not found["passed"] and config.on_failure == "stop":
        failed = [check for check in found["checks"] if not check["passed"]]
        raise GateError(
            f"{out.uri}/{GATE}",
            f"a judge that must not relabel: {'; '.join(map(_sentence, failed))}",
            "every requirement of the recipe's section 'gate'",
            _next(failed),
        )
    return found


def gate_lines(found: dict) -> list[str]:
    """The verdict of `gate.json` in a line, and under it a line for each requirement that was not reached."""
    failed = [
        sentence for check, sentence in zip(found["checks"], found["sentences"], strict=True) if not check["passed"]
    ]
    if not failed:
        return [f"The judge passed the gate: all {len(found['checks'])} requirements are reached."]
    then = "the run went on because gate.on_failure is warn" if found["on_failure"] == "warn" else "the run stopped"
    return [f"The judge failed the gate, and {then}.", *(f"{sentence}." for sentence in failed)]


def _required(requirement: Requirement, agreement: dict) -> dict:
    words, path = METRICS[requirement.metric]
    headline = headline_auc(agreement)
    found = headline if path[0] in ("pooled", "within_query") else agreement
    for key in path:
        found = found[key]
    words = words.replace("AUC", f"AUC(≥{headline['threshold']})")
    return _check(words, found, requirement.bound, requirement.at_least, strictly=False)


def _beaten(name: str, config: GateConfig, agreement: dict) -> dict:
    threshold = headline_auc(agreement)["threshold"]
    place = "inside a query" if config.beat_in == "within_query" else "over all pairs"
    words = f"AUC(≥{threshold}) {place} less {FREE[name]}'s"
    for other in agreement["comparisons"]:
        if other["name"] == FREE[name]:
            values = other["auc"][threshold]
            key = "difference_within_query" if config.beat_in == "within_query" else "difference"
            words += f" {number(values[config.beat_in]['value'])}"
            return _check(words, values[key], config.beat_bound, 0.0, strictly=True)
    return _check(words, None, config.beat_bound, 0.0, strictly=True)


def _check(what: str, found: dict | None, bound: Bound, at_least: float, strictly: bool) -> dict:
    """`strictly`: a value that equals `at_least` is not enough."""
    reached = found and found["low" if bound == "lower" else "value"]
    return {
        "what": what,
        "found": found,
        "bound": bound,
        "at_least": at_least,
        "strictly": strictly,
        "short_by": None if reached is None else max(0.0, at_least - reached),
        "passed": reached is not None and (reached > at_least if strictly else reached >= at_least),
    }


def _sentence(check: dict) -> str:
    bound = "a lower bound" if check["bound"] == "lower" else "a value"
    wanted = f"{bound} {'above' if check['strictly'] else 'of at least'} {number(check['at_least'])} is wanted"
    if check["found"] is None:
        return f"{check['what']} was not measured, {wanted}"
    words = f"{check['what']} is {with_interval(check['found'])}, {wanted}"
    if check["passed"]:
        return f"{words}: reached"
    if check["short_by"] is None:
        return f"{words}: it cannot be told on these pairs"
    return f"{words}: {number(check['short_by'])} short"


def _next(failed: list[dict]) -> str:
    found_but_not_shown = all(
        check["bound"] == "lower" and check["found"] and (check["found"]["value"] or 0) > check["at_least"]
        for check in failed
    )
    first = (
        "the values are high enough and their intervals too wide: grade more held-out queries (held_out)"
        if found_but_not_shown
        else "train the judge on more human grades (human, judge_training), or take another model or prompt (judge)"
    )
    return (
        f"{first}, with another --out; or run the same command with --set gate.on_failure=warn "
        "to go on at your own risk: what is done is kept"
    )
