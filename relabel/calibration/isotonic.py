"""isotonic: each P(grade ≥ g) goes through a rising step curve of its own, without any assumed shape.

Source: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002;
thresholds of an ordinal scale one by one: Frank and Hall, "A simple approach to ordinal classification", ECML 2001.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from relabel.calibration.method import Method, log_normalised
from relabel.config import Config

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Curve(Config):
    """A curve from raw to calibrated probability: straight between its points, level outside."""

    raw: list[Share] = Field(min_length=1, max_length=100_000)
    calibrated: list[Share] = Field(min_length=1, max_length=100_000)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.raw) != len(self.calibrated):
            raise ValueError("as many calibrated as raw probabilities")
        if any(after <= before for before, after in pairwise(self.raw)):
            raise ValueError("raw probabilities that rise strictly")
        if any(after < before for before, after in pairwise(self.calibrated)):
            raise ValueError("calibrated probabilities that never fall")
        return self


class Isotonic(Method):
    """One curve for each grade but the lowest.

    Where curves would cross, P(grade ≥ g) is at most P(grade ≥ g − 1). A distribution is mixed with the uniform one,
    as if one more pair of each grade had been seen, so that nothing is impossible.
    """

    name: ClassVar[str] = "isotonic"

    curves: list[Curve] = Field(min_length=1, max_length=100)
    uniform: float = Field(ge=0, le=1, allow_inf_nan=False, description="share of the uniform distribution")

    @classmethod
    def fit(cls, logprobs: np.ndarray, truth: np.ndarray) -> Self:
        from sklearn.isotonic import IsotonicRegression

        at_least, classes = _at_least(logprobs), logprobs.shape[1]
        curves = []
        for place in range(classes - 1):
            found = IsotonicRegression(y_min=0, y_max=1).fit(at_least[:, place], truth > place)
            curves.append(
                Curve(raw=found.X_thresholds_.tolist(), calibrated=np.maximum.accumulate(found.y_thresholds_).tolist())
            )
        return cls(curves=curves, uniform=classes / (len(truth) + classes))

    def apply(self, logprobs: np.ndarray) -> np.ndarray:
        at_least = _at_least(logprobs)
        curved = [np.interp(at_least[:, n], curve.raw, curve.calibrated) for n, curve in enumerate(self.curves)]
        falling = np.minimum.accumulate(np.stack(curved, axis=1), axis=1)
        edges = np.pad(falling, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
        return (1 - self.uniform) * -np.diff(edges, axis=1) + self.uniform / (len(self.curves) + 1)

    def fits(self, classes: int) -> bool:
        return len(self.curves) == classes - 1


def _at_least(logprobs: np.ndarray) -> np.ndarray:
    """P(class ≥ 1), P(class ≥ 2), … [rows, classes − 1]."""
    probabilities = np.exp(log_normalised(logprobs))
    return np.clip(np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1][:, 1:], 0, 1)
