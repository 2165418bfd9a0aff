"""What the comparison of re-ranker trainings makes of the rates of its sides."""

import argparse

import pytest

from benchmarks import reranker_training
from benchmarks.reranker_training import OTHER_DTYPE, ratios_of


def test_ours_is_compared_with_the_better_of_theirs():
    """The Trainer in its better dtype counts; dropout only against dropout."""
    rates = {"ours": 30.0, "trainer": 10.0, "trainer, other dtype": 15.0, "ours, dropout 0.1": 24.0}
    rates |= {"trainer, dropout 0.1 (its default)": 8.0}
    runs = [{name: {"pairs_per_second": rate} for name, rate in rates.items()}] * 2
    assert ratios_of("trainer", runs) == {"ours / trainer": [2.0, 2.0], "both with dropout 0.1": [3.0, 3.0]}


def test_a_side_that_did_not_run_is_compared_with_nothing():
    """`--sides ours` gives rates, and no ratio."""
    alone = [{"ours": {"pairs_per_second": 30.0}}]
    assert ratios_of("trainer", alone) == {}
    assert ratios_of("workers", [{"one worker": {"pairs_per_second": 1.0}}]) == {}


@pytest.mark.parametrize(("rate", "turns"), [(0.4, 1), (4.9, 1), (5.0, 3), (12.0, 3)])
def test_a_dtype_that_cannot_win_runs_once(monkeypatch, rate, turns):
    """Half as fast as the Trainer's other run: it has its turns; slower: one, and what it gave stays in the result."""
    rates = {"ours": 20.0, "trainer": 10.0, OTHER_DTYPE: rate}
    ran: list[str] = []

    def side(_module, _options, _shared, arguments):
        name = next(name for name, found in reranker_training.SIDES["trainer"].items() if found == arguments)
        ran.append(name)
        return {"pairs_per_second": rates[name], "peak_mib": 1.0, "loss": [0.7, 0.6], "steps": 8}

    monkeypatch.setattr(reranker_training, "run_side", side)
    training = {"model": "m", "loss": "bce", "batch": 16, "max_length": 256, "learning_rate": 5e-5}
    options = argparse.Namespace(compare="trainer", sides=list(rates), repetitions=3, **training)
    result = reranker_training.compare(options)
    assert ran.count(OTHER_DTYPE) == turns
    assert ran.count("ours") == ran.count("trainer") == 3
    assert result["pairs_per_second"][OTHER_DTYPE] == rate
    assert result["ratio"] == {"ours / trainer": round(20.0 / max(10.0, rate), 3)}
