"""A mean over queries from few human-labelled ones and a judge everywhere: narrower, and still about people.

For means such as nDCG@10 of a system: `human` is its value under human grades on n queries, `judge` its value under the
judge's grades on the same queries, `judge_elsewhere` on the N others. For two systems give differences. Pure functions.
Invariant: a bad judge costs little, and it never moves what is estimated: the mean under human grades, for queries
that were chosen for labelling at random among all.

Example:
    >>> prediction_powered_mean(human=ndcg_people, judge=ndcg_judge[labelled], judge_elsewhere=ndcg_judge[~labelled])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from relabel.errors import InputError
from relabel.evidence.significance import Interval

#: Below this many human-labelled queries neither spread nor slope can be told.
LEAST_QUERIES = 5
#: Below this many others the judge's spread there cannot be told.
LEAST_OTHERS = 2


@dataclass(frozen=True)
class PoweredMean:
    """An estimate with and without the judge.

    Attributes:
        interval: the mean under human grades, with the judge's help.
        human_only: the same from the human-labelled queries alone (Student's t).
        tuning: weight λ of the judge: 0 where it says nothing about people.
        human_queries, judged_queries: n and N.
    """

    interval: Interval
    human_only: Interval
    tuning: float
    human_queries: int
    judged_queries: int

    @property
    def width_ratio(self) -> float:
        """Width of `interval` over that of `human_only`; below 1 where the judge helps."""
        return (self.interval.high - self.interval.low) / (self.human_only.high - self.human_only.low)

    def to_json(self) -> dict:
        return {
            "value": self.interval.to_json(),
            "human_only": self.human_only.to_json(),
            "tuning": self.tuning,
            "human_queries": self.human_queries,
            "judged_queries": self.judged_queries,
        }


def prediction_powered_mean(
    human: np.ndarray, judge: np.ndarray, judge_elsewhere: np.ndarray, confidence: float = 0.95
) -> PoweredMean:
    """θ = mean(human) − λ · (mean(judge) − mean(judge elsewhere)), with the λ that makes its variance least.

    λ = Cov(human, judge) / ((1 + n / N) Var(judge)); the variance is Var(human − λ judge) / n + λ² Var(judge) / N.
    For few queries the residual variance and Student's t have n − 2 degrees of freedom, one for the mean and one for λ.

    Args:
        human: value of each human-labelled query under human grades [n].
        judge: of the same queries under the judge's grades [n].
        judge_elsewhere: of the other queries under the judge's grades [N].

    Raises:
        InputError: for fewer than five human-labelled or two other queries, unequal lengths, or a value that is no
            number.

    Source: Angelopoulos, Duchi and Zrnic, "PPI++: efficient prediction-powered inference" (2023), section 6 (power
    tuning) and example 6.1 (means); the small-sample form is that of regression through estimated slopes.
    """
    human, judge, elsewhere = (np.asarray(values, float) for values in (human, judge, judge_elsewhere))
    _check(human, judge, elsewhere)
    n, others = len(human), len(elsewhere)
    spread = np.var(np.r_[judge, elsewhere], ddof=1)
    covariance = np.cov(human, judge)[0, 1]
    tuning = float(covariance / ((1 + n / others) * spread)) if spread > 0 else 0.0
    value = human.mean() - tuning * (judge.mean() - elsewhere.mean())
    residual = np.sum((human - human.mean() - tuning * (judge - judge.mean())) ** 2) / (n - 2)
    error = np.sqrt(residual / n + tuning**2 * spread / others)
    return PoweredMean(
        _interval(value, error, n - 2, confidence),
        _interval(human.mean(), human.std(ddof=1) / np.sqrt(n), n - 1, confidence),
        tuning,
        n,
        others,
    )


def _interval(value: float, error: float, freedom: int, confidence: float) -> Interval:
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Interval(float(value), float(value - reach), float(value + reach))


def _check(human: np.ndarray, judge: np.ndarray, elsewhere: np.ndarray) -> None:
    if len(human) != len(judge):
        raise InputError("prediction-powered mean", f"{len(human)} human and {len(judge)} judge values", "one each")
    refuse_few_queries(len(human), len(elsewhere), "prediction-powered mean")
    if not all(np.isfinite(values).all() for values in (human, judge, elsewhere)):
        raise InputError("prediction-powered mean", "a value that is no number", "a number for each query")


def refuse_few_queries(graded: int, others: int, where: str) -> None:
    """Raises InputError where a mean over graded and other queries could not have an interval."""
    if graded < LEAST_QUERIES or others < LEAST_OTHERS:
        raise InputError(
            where,
            f"{graded} human-labelled and {others} other queries",
            f"at least {LEAST_QUERIES} and {LEAST_OTHERS} for a prediction-powered mean",
            "label more queries, or add queries without labels; where all are labelled, no judge is needed",
        )
