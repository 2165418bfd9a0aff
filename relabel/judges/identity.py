"""The id of a judge: a digest of all that decides its answers, known before any model is loaded."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from relabel.calibration.record import Calibration, not_for
from relabel.judges import bm25, classifier
from relabel.judges.config import PROMPTED, JudgeConfig
from relabel.models import local_model, model_fingerprint
from relabel.panel.record import read_panel
from relabel.prompts import asked
from relabel.storage import Folder


def judge_id(config: JudgeConfig, dtype: str) -> str:
    """`<engine>-<16 hex>`: model files, prompt, grade labels, dtype, truncation and the calibration's content; nothing
    that only changes speed. A panel's covers the ids of its members and its coefficients.

    Args:
        dtype: the resolved dtype, never `auto`.

    Raises:
        InputError: for a model folder, collection, panel or calibration that cannot be used, or a calibration that was
            fitted for another judge.
    """
    raw = raw_judge_id(config, dtype)
    if not config.calibration:
        return raw
    calibration = Calibration.read(config.calibration)
    if calibration.judge_id != raw:
        raise not_for(raw, calibration.judge_id, config.calibration)
    return calibration.calibrated_id


def raw_judge_id(config: JudgeConfig, dtype: str) -> str:
    """The id of the judge without its calibration; arguments as for `judge_id`."""
    if config.engine == "panel":
        return read_panel(Folder(config.model)).panel_id
    prompt = asked(config.prompt, config.examples)
    facts = {"engine": config.engine, "grades": prompt.scale.grades}
    if config.engine in ("lexical", "length"):
        facts |= {"version": 1}
    elif config.engine == "bm25":
        facts |= bm25.facts(config)
    else:
        facts |= {
            "model": _fingerprint(local_model(config.model)),
            "dtype": dtype,
            "max_document_tokens": config.max_document_tokens,
            "max_query_tokens": config.max_query_tokens,
        }
    if config.engine == "classifier" and classifier.runner(config) == "vllm":
        facts |= {"runner": "vllm"}  # by transformers the id is that of versions that knew nothing else
    if config.engine in PROMPTED:
        facts = facts | {"prompt": prompt.prompt_id, "labels": prompt.labels}
        del facts["grades"]  # the prompt's id covers them
    return f"{config.engine}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}"


@lru_cache(maxsize=16)
def _fingerprint(folder: Path) -> str:
    return model_fingerprint(folder)
