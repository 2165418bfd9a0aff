"""temperature: one parameter that makes all distributions flatter or sharper; the order of grades stays.

Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from relabel.calibration.method import Method, log_loss, log_normalised

#: Natural logarithms of the least and the largest temperature that are tried.
RANGE = (-4.0, 4.0)


class Temperature(Method):
    """p ∝ exp(logprob / temperature)."""

    name: ClassVar[str] = "temperature"

    temperature: float = Field(ge=0.01, le=100, allow_inf_nan=False, description="above 1: flatter")

    @classmethod
    def fit(cls, logprobs: np.ndarray, truth: np.ndarray) -> Self:
        from scipy.optimize import minimize_scalar  # seconds to import, which a judge's actors need not spend

        def loss(logarithm: float) -> float:
            return float(log_loss(np.exp(log_normalised(logprobs / np.exp(logarithm))), truth).mean())

        return cls(temperature=float(np.exp(minimize_scalar(loss, bounds=RANGE, method="bounded").x)))

    def apply(self, logprobs: np.ndarray) -> np.ndarray:
        return np.exp(log_normalised(logprobs / self.temperature))
