"""The gate: what a judge must reach, what a user reads when it does not, and that nothing unknown passes."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.agreement.gate import GATE, METRICS, GateConfig, gate, gate_lines, pass_gate
from relabel.agreement.measures import agreement
from relabel.errors import ConfigError, GateError
from relabel.records import Scale
from relabel.storage import Folder

FOUR = Scale((0, 1, 2, 3), relevant_from=2)


def measured(judge: float, bm25: float = 0.3, encoder: float | None = 1.0, queries: int = 40) -> dict:
    """agreement.json of a judge and free scorers that follow the human grades with given sharpness."""
    random = np.random.default_rng(0)
    human = random.choice(4, size=queries * 20, p=[0.5, 0.2, 0.2, 0.1])
    logits = random.normal(size=(len(human), 4)) + judge * np.eye(4)[human]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    others = {"BM25": bm25 * human + random.normal(size=len(human))}
    if encoder is not None:
        others["the zero-shot encoder"] = encoder * human + random.normal(size=len(human))
    query_ids = [f"q{row // 20}" for row in range(len(human))]
    return agreement(human, probabilities.argmax(axis=1), probabilities, query_ids, FOUR, FOUR, others, {}, 200)


def config(**keys) -> GateConfig:
    return GateConfig.load(keys, "gate")


def test_a_judge_that_beats_chance_and_the_free_scorers_passes(tmp_path):
    """The default gate lets a clearly better judge through, and writes so."""
    found = pass_gate(config(), measured(judge=4.0), Folder(tmp_path))
    assert found["passed"]
    assert Folder(tmp_path).read_json(GATE) == found
    assert gate_lines(found) == ["The judge passed the gate: all 3 requirements are reached."]


def test_an_untrained_judge_is_stopped_with_what_it_lacks_and_what_to_do(tmp_path):
    """Metric, value with interval, what was wanted, by how much it falls short, and both ways on are in the message."""
    words = (
        r"gate\.json: found a judge that must not relabel: "
        r"AUC\(≥2\) over all pairs is 0\.\d\d \[0\.\d\d, 0\.\d\d\], a lower bound of at least 0\.50 is wanted: 0\.\d\d "
        r"short; AUC\(≥2\) inside a query less BM25's 0\.\d\d is −0\.\d\d \[.*\], a lower bound above 0\.00 is wanted: "
        r"0\.\d\d short; .* less the zero-shot encoder's 0\.\d\d is −0\.\d\d .* short; "
        r"wanted every requirement of the recipe's section 'gate'\. "
        r"Next: train the judge on more human grades \(human, judge_training\), or take another model or prompt "
        r"\(judge\), with another --out; or run the same command with --set gate\.on_failure=warn to go on at your own "
        r"risk: what is done is kept"
    )
    with pytest.raises(GateError, match=words) as stopped:
        pass_gate(config(), measured(judge=0.0), Folder(tmp_path))
    assert stopped.value.exit_code == 4
    assert Folder(tmp_path).read_json(GATE)["passed"] is False


def test_a_judge_worse_than_a_free_encoder_never_relabels():
    """However good it is against chance, an encoder that costs nothing and is better fails it."""
    found = gate(config(), measured(judge=1.0, encoder=2.0))
    chance, _, encoder = found["checks"]
    assert chance["passed"]
    assert not encoder["passed"]
    assert encoder["short_by"] == pytest.approx(-encoder["found"]["low"])
    assert not found["passed"]


def test_warn_lets_a_failing_judge_on_and_says_so(tmp_path):
    """Nothing is raised; the verdict stays a failure in words."""
    found = pass_gate(config(on_failure="warn"), measured(judge=0.0), Folder(tmp_path))
    first, *rest = gate_lines(found)
    assert first == "The judge failed the gate, and the run went on because gate.on_failure is warn."
    assert len(rest) == 3


def test_a_value_that_is_enough_may_have_too_wide_an_interval(tmp_path):
    """With few queries the advice is to grade more held-out queries; `bound: value` takes the value alone."""
    agreement_of_few = measured(judge=0.35, queries=5)
    value = agreement_of_few["auc"]["2"]["pooled"]["value"]
    asked = {"metric": "auc", "at_least": round(value - 0.02, 3)}
    with pytest.raises(GateError, match="grade more held-out queries"):
        pass_gate(config(requirements=[asked], beat=[]), agreement_of_few, Folder(tmp_path))
    assert gate(config(requirements=[asked | {"bound": "value"}], beat=[]), agreement_of_few)["passed"]


def test_what_was_not_measured_does_not_pass():
    """A scorer that was not compared, and a κ that is undefined, fail instead of being skipped."""
    without = measured(judge=4.0, encoder=None)
    found = gate(config(requirements=[{"metric": "kappa", "at_least": 0.1}]), without)
    assert [check["passed"] for check in found["checks"]] == [True, True, False]
    assert "the zero-shot encoder's was not measured" in found["sentences"][2]
    without["kappa"]["unweighted"] = {"value": None, "low": None, "high": None}
    found = gate(config(requirements=[{"metric": "kappa", "at_least": 0.1}], beat=[]), without)
    assert not found["passed"]
    assert found["sentences"] == [
        "Cohen's κ is undefined, a lower bound of at least 0.10 is wanted: it cannot be told on these pairs"
    ]


def test_a_judge_equal_to_a_free_scorer_does_not_beat_it():
    """No difference at all is not better."""
    tied = measured(judge=2.0)
    tied["comparisons"][0]["auc"]["2"]["difference_within_query"] = {"value": 0.0, "low": 0.0, "high": 0.0}
    (check,) = gate(config(requirements=[], beat=["bm25"]), tied)["checks"]
    assert not check["passed"]


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_found_in_the_agreement(metric):
    """Each name that a recipe may use reads a value with its interval."""
    asked = {"metric": metric, "at_least": -1, "bound": "value"}
    (check,) = gate(config(requirements=[asked], beat=[]), measured(judge=1.0))["checks"]
    assert check["passed"]
    assert check["found"]["low"] < check["found"]["value"] < check["found"]["high"]


def test_an_unknown_metric_is_refused_by_name():
    """The error lists what can be required."""
    with pytest.raises(ConfigError, match=r"requirements\.0\.metric: found 'f1'; wanted 'auc', 'auc-within-query'"):
        config(requirements=[{"metric": "f1", "at_least": 0.5}])
