"""A judge with its calibration: the engine's log-probabilities stay, what is made of them is calibrated."""

from __future__ import annotations

import pyarrow as pa

from relabel.calibration.record import Calibration, not_for
from relabel.judges.base import Judge, Judged


class CalibratedJudge:
    """A judge like any other, with an id of its own.

    Raises:
        InputError: where the calibration was fitted for another judge.
    """

    def __init__(self, judge: Judge, calibration: Calibration):
        if calibration.judge_id != judge.judge_id:
            raise not_for(judge.judge_id, calibration.judge_id, "calibration")
        self._judge, self._calibration = judge, calibration
        self.judge_id, self.scale = calibration.calibrated_id, judge.scale

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        judged = self._judge.judge(pairs, source)
        return Judged(self._calibration.applied(judged.judgements), judged.quarantined, judged.tokens)
