"""A positive number with the interval that it lies in with 90 % probability, and random draws of it.

Rates and times err by factors, so draws are log-normal about the value, with a spread of its own on either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Standard normal quantile of the interval's upper end.
Z = 1.6449
#: Draws of every quantity of an estimate.
DRAWS = 4_000


@dataclass(frozen=True)
class Uncertain:
    """`value` in [`low`, `high`] with 90 % probability."""

    value: float
    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Uncertain:
        return cls(value, value, value)

    @classmethod
    def within(cls, value: float, factor: float) -> Uncertain:
        """Off by at most `factor` (above 1) either way."""
        return cls(value, value / factor, value * factor)

    @classmethod
    def of(cls, found: Sequence[float], least: float) -> Uncertain:
        """The median of several measurements; within their range, and off by `least` (a factor) at least."""
        middle = float(np.median(found))
        return cls(middle, min(min(found), middle / least), max(max(found), middle * least))

    @classmethod
    def between(cls, value: float, draws: np.ndarray) -> Uncertain:
        """`value`, with the quantiles of its draws."""
        low, high = np.quantile(draws, (0.05, 0.95))
        return cls(float(value), float(min(low, value)), float(max(high, value)))

    def times(self, factor: float) -> Uncertain:
        return Uncertain(self.value * factor, self.low * factor, self.high * factor)

    def draws(self, random: np.random.Generator) -> np.ndarray:
        """float64 [`DRAWS`]."""
        normal = random.standard_normal(DRAWS)
        if not self.value:
            return np.zeros(DRAWS)
        up = np.log(self.high / self.value) / Z
        down = np.log(self.value / self.low) / Z if self.low else 1.0
        return self.value * np.exp(normal * np.where(normal > 0, up, down))

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}
