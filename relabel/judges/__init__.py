"""Judges by engine. A judge reads pairs and gives, for each, a distribution over the grades of its scale.

To add an engine: one file with a `build(config, judge_id) -> Judge`, one line in `ENGINES`; what decides
its answers beside the model goes into `identity`.
"""

from __future__ import annotations

from importlib import import_module

from relabel.calibration.record import Calibration
from relabel.judges.base import Judge, Judged
from relabel.judges.calibrated import CalibratedJudge
from relabel.judges.config import JudgeConfig, judge_dtype
from relabel.judges.identity import raw_judge_id

#: Engine → module with `build(config, judge_id)`; imported when used, since vLLM and torch are heavy.
ENGINES = {
    "vllm": "relabel.judges.vllm_engine",
    "transformers": "relabel.judges.transformers_engine",
    "encoder": "relabel.judges.encoder",
    "classifier": "relabel.judges.classifier",
    "bm25": "relabel.judges.bm25",
    "lexical": "relabel.judges.lexical",
    "length": "relabel.judges.length",
    "panel": "relabel.judges.panel",
}


def load_judge(config: JudgeConfig) -> Judge:
    """The judge that `config` describes, with its model in memory and its calibration, if it has one.

    Raises:
        InputError: where the model folder, the prompt or the calibration does not fit.
    """
    judge_id = raw_judge_id(config, judge_dtype(config).value)
    raw = import_module(ENGINES[config.engine]).build(config.model_copy(update={"calibration": None}), judge_id)
    return CalibratedJudge(raw, Calibration.read(config.calibration)) if config.calibration else raw


__all__ = ["ENGINES", "Judge", "JudgeConfig", "Judged", "load_judge"]
