"""What the comparison of re-ranker trainings makes of the rates of its sides."""

from benchmarks.reranker_training import ratios_of


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
