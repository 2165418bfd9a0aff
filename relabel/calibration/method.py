"""What a calibration method is: its fitted parameters, `fit` and `apply`; columns of numbers, no tables and no files.

Classes are the judge's grades in ascending order, or `not relevant` and `relevant` where people graded on another
scale. Invariant: `apply` gives distributions, and parameters that came from a file are validated like any other input.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from relabel.config import Config

#: Log-probabilities below this are as good as impossible, and keep the arithmetic finite.
LEAST = -30.0


class Method(Config):
    """A calibration method with fitted parameters as its fields.

    To add one: a file with a subclass, and its name in `METHODS`.
    """

    name: ClassVar[str]

    @classmethod
    def fit(cls, logprobs: np.ndarray, truth: np.ndarray) -> Self:
        """Fit on normalised log-probabilities [rows, classes] and true classes, int [rows]."""
        raise NotImplementedError

    def apply(self, logprobs: np.ndarray) -> np.ndarray:
        """Calibrated distributions float64 [rows, classes] of normalised log-probabilities [rows, classes]."""
        raise NotImplementedError

    def fits(self, classes: int) -> bool:
        """Whether the parameters are those of so many classes."""
        return True


def log_normalised(values: np.ndarray) -> np.ndarray:
    """Log-softmax of `values` [rows, classes], kept above `LEAST`."""
    values = np.asarray(values, float)
    shifted = values - values.max(axis=1, keepdims=True, initial=-np.inf)
    return np.maximum(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), LEAST)


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """−ln P(true class) of each row, float64 [rows], at most −`LEAST`.

    Args:
        probabilities: distributions [rows, classes].
        truth: true classes, int [rows].
    """
    return -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], np.exp(LEAST)))
