"""Calibration: a judge's raw distributions become probabilities that mean what they say.

A method is fitted on human grades of queries that the judge has not seen, and is applied when judging
(`JudgeConfig.calibration`). One file a method, one line in `METHODS`, simplest first. Invariant: log-probabilities stay
as the engine gave them; what calibration changes is `probabilities`, `score`, `grade`, and the judge id.

Run: `relabel calibrate --judgements URI --human PAIRS --out DIR`
"""

from __future__ import annotations

from relabel.calibration.isotonic import Isotonic
from relabel.calibration.method import Method
from relabel.calibration.none import Uncalibrated
from relabel.calibration.temperature import Temperature
from relabel.calibration.temperature_bias import TemperatureBias

#: Simplest first: where two fit held-out grades equally well, the earlier is taken.
METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Uncalibrated, Temperature, TemperatureBias, Isotonic)
}

__all__ = ["METHODS", "Method"]
