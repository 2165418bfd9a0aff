"""temperature-bias: a temperature and one shift a grade, for judges that were trained on other shares of grades.

A judge trained on balanced grades expects as many relevant documents as not; shifts give it the shares of the pool.
Source: Alexandari, Kundaje and Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label
shift adaptation", ICML 2020, section 3.2 (bias-corrected temperature scaling).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from relabel.calibration.method import Method, log_normalised

Bias = Annotated[float, Field(ge=-50, le=50, allow_inf_nan=False)]


class TemperatureBias(Method):
    """p ∝ exp(sharpness · logprob + bias of the grade); sharpness is 1 / temperature and never negative.

    The fit is convex. The biases carry an L2 penalty of half a pair, so that a grade that no human gave stays possible.
    """

    name: ClassVar[str] = "temperature-bias"

    sharpness: float = Field(ge=0, le=100, allow_inf_nan=False, description="0: the judge says nothing")
    biases: list[Bias] = Field(min_length=2, max_length=100, description="one a class, summing to 0")

    @classmethod
    def fit(cls, logprobs: np.ndarray, truth: np.ndarray) -> Self:
        logprobs = log_normalised(logprobs)
        rows, classes = logprobs.shape
        one_hot = np.eye(classes)[truth]

        from scipy.optimize import minimize  # seconds to import, which a judge's actors need not spend

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            scores = log_normalised(values[0] * logprobs + values[1:])
            excess = (np.exp(scores) - one_hot) / rows
            gradient = np.r_[np.sum(excess * logprobs), excess.sum(axis=0) + values[1:] / (2 * rows)]
            return -np.sum(one_hot * scores) / rows + np.sum(values[1:] ** 2) / (4 * rows), gradient

        start = np.r_[1.0, np.zeros(classes)]
        bounds = [(0, 100), *[(-50, 50)] * classes]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        return cls(sharpness=float(found[0]), biases=(found[1:] - found[1:].mean()).tolist())

    def apply(self, logprobs: np.ndarray) -> np.ndarray:
        return np.exp(log_normalised(self.sharpness * log_normalised(logprobs) + np.array(self.biases)))

    def fits(self, classes: int) -> bool:
        return len(self.biases) == classes
