"""Promises from few grades: tests that a mean loss is below a limit, exact for any sample size, and their sequence.

Pure functions of arrays. A test's p-value is valid for any distribution of losses in [0, 1] whose units are drawn
independently from one population. Invariant: what chooses the order of tests, or how much is staked, never looks at
the losses that are tested.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import binom

#: The largest share of what could be staked that is: one unit of loss 1 must not end everything.
BOLDEST = 0.9


def betting_p_value(losses: np.ndarray, limit: float, stake: float) -> float:
    """P-value of "the mean loss is `limit` or more": 1 / Π (1 + stake · (limit − loss)), at most 1.

    If the mean were `limit` or more, the product would be a fair or losing bettor's capital with mean 1 at most, so by
    Markov's inequality it exceeds 1/p with probability p at most, for any number of losses. It does not depend on
    their order.

    Args:
        losses: of independent units, in [0, 1].
        limit: in (0, 1).
        stake: in [0, 1 / (1 − limit)], chosen without these losses.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024),
    section 3 (capital process) with a constant bet; Ville's inequality at the last step.
    """
    growth = np.log1p(stake * (limit - np.asarray(losses, float)))
    return float(np.exp(-max(growth.sum(), 0.0)))


def best_stake(losses: np.ndarray, limit: float) -> float:
    """The constant stake that would have made most of these losses, at most `BOLDEST` of what may be; 0 without any.

    Args:
        losses: of pilot units that will not be tested.
    """
    stakes = np.linspace(0, BOLDEST / (1 - limit), 46)
    return float(stakes[np.argmax(np.log1p(stakes[:, None] * (limit - np.asarray(losses, float))).sum(axis=1))])


def growth_rate(losses: np.ndarray, limit: float, stake: float) -> float:
    """Mean natural logarithm of what a unit adds to the capital of `betting_p_value`; NaN without losses."""
    return float(np.log1p(stake * (limit - np.asarray(losses, float))).mean()) if len(losses) else float("nan")


def binomial_p_value(wrong: int, of: int, limit: float) -> float:
    """P-value of "the share of wrong ones is `limit` or more" for independent ones: P(Binomial(of, limit) ≤ wrong).

    It is below δ exactly where the upper Clopper–Pearson bound of level 1 − δ is below `limit`.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26 (1934).
    """
    return float(binom.cdf(wrong, of, limit))


def fixed_sequence(p_values: Iterable[float], level: float) -> int:
    """How many hypotheses, in this order, are rejected before the first that is not, all at `level`.

    The chance that any true one is among them is at most `level`, if the order was chosen without the tested data.

    Source: Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive algorithms to achieve
    risk control" (2021), section 2.2 (fixed sequence testing).
    """
    rejected = 0
    for p in p_values:
        if not p <= level:
            break
        rejected += 1
    return rejected
