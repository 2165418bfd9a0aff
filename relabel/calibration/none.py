"""none: the judge's own distribution, renormalised over the grades."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from relabel.calibration.method import Method, log_normalised


class Uncalibrated(Method):
    """No parameters; what every other method must beat on held-out grades."""

    name: ClassVar[str] = "none"

    @classmethod
    def fit(cls, logprobs: np.ndarray, truth: np.ndarray) -> Self:
        return cls()

    def apply(self, logprobs: np.ndarray) -> np.ndarray:
        return np.exp(log_normalised(logprobs))
