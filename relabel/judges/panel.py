"""A panel as a judge: every member judges every pair in one process, and an ordinal model combines their answers.

`model` is the folder that `relabel fit-panel` wrote; the scale is that of the human grades it was fitted on, not the
prompt's, and its grade is the median of the distribution. A pair that one member cannot judge goes to quarantine with
that member's reason. Invariant: each member has the id here that it had when the panel was fitted.

    relabel judge --engine panel --model DIR --pairs PAIRS --out OUT
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from relabel.calibration.median import median_class
from relabel.errors import InputError
from relabel.judges import identity
from relabel.judges.base import Judge, Judged, judgement_table
from relabel.judges.config import JUDGE_SPEED, JudgeConfig, judge_dtype
from relabel.panel.record import Member, PanelRecord, read_panel
from relabel.storage import Folder
from relabel.tables import keys_of, quarantine_table


class PanelJudge:
    """Members and the record of how to combine them.

    Raises:
        InputError: where a member is not the judge that the panel was fitted with.
    """

    def __init__(self, judge_id: str, record: PanelRecord, members: list[Judge]):
        self.judge_id, self.scale = judge_id, record.judge_scale
        self._record, self._members = record, members
        for member, judge in zip(record.members, members, strict=True):
            if judge.judge_id != member.judge_id:
                raise another_judge(member, judge.judge_id)

    def judge(self, pairs: pa.Table, source: str) -> Judged:
        keys = keys_of(pairs)
        place = {key: row for row, key in enumerate(keys)}
        reasons: list[tuple[str, str] | None] = [None] * len(keys)
        judged = [member.judge(pairs, source) for member in self._members]
        for member, found in zip(self._record.members, judged, strict=True):
            bad = found.quarantined
            for key, reason, detail in zip(
                keys_of(bad), *(bad[c].to_pylist() for c in ("reason", "detail")), strict=True
            ):
                reasons[place[key]] = reasons[place[key]] or (reason, f"{member.name}: {detail}")
        good = [row for row, reason in enumerate(reasons) if not reason]
        rows = [_aligned(found.judgements, [keys[row] for row in good]) for found in judged]
        probabilities = [
            _matrix(table, len(judge.scale.grades)) for table, judge in zip(rows, self._members, strict=True)
        ]
        logprobs = self._record.logprobs(probabilities)
        judgements = judgement_table(
            pairs.take(pa.array(good, pa.int64())),
            logprobs,
            np.sum([table["prompt_tokens"].to_numpy() for table in rows], axis=0),
            np.any([table["truncated"].to_numpy() for table in rows], axis=0),
            self,
            median_class(np.exp(logprobs)),
        )
        return Judged(
            judgements, quarantine_table(pairs, reasons, source, "judge"), sum(found.tokens for found in judged)
        )


def member_configs(config: JudgeConfig) -> list[JudgeConfig]:
    """The configurations of a panel's members; what decides the speed is taken from `config`.

    Raises:
        InputError: where the folder is no panel, or a member's judgements did not say how to make it again.
        ConfigError: for a member's key that is unknown or ill-typed.
    """
    record, speed = read_panel(Folder(config.model)), {name: getattr(config, name) for name in JUDGE_SPEED}
    found = []
    for member in record.members:
        where = f"panel {config.model}: member {member.name!r}"
        if member.config is None:
            raise InputError(
                where,
                "no keys to make this judge again",
                "judgements whose table.json has `config`",
                "judge the human pairs again with this version, and fit the panel again",
            )
        found.append(JudgeConfig.load(member.config, where).model_copy(update=speed))
    return found


def computing(config: JudgeConfig) -> list[JudgeConfig]:
    """The configurations that compute: those of a panel's members, else the judge's own; raises as `member_configs`."""
    return member_configs(config) if config.engine == "panel" else [config]


def another_judge(member: Member, found: str) -> InputError:
    return InputError(
        f"panel member {member.name!r}",
        f"the judge {found} (other model files, statistics, prompt, dtype or runner)",
        f"{member.judge_id}, with which the panel was fitted",
        "bring its files back, or judge the human pairs with it and fit the panel again",
    )


def check_members(config: JudgeConfig) -> None:
    """Raises InputError, before any model is loaded, where a member would have another id here."""
    for member, own in zip(read_panel(Folder(config.model)).members, member_configs(config), strict=True):
        found = identity.judge_id(own, judge_dtype(own).value)
        if found != member.judge_id:
            raise another_judge(member, found)


def build(config: JudgeConfig, judge_id: str) -> PanelJudge:
    from relabel.judges import load_judge

    record = read_panel(Folder(config.model))
    return PanelJudge(judge_id, record, [load_judge(member) for member in member_configs(config)])


def _aligned(judgements: pa.Table, keys: list[tuple[str, str]]) -> pa.Table:
    row = {key: place for place, key in enumerate(keys_of(judgements))}
    return judgements.take(pa.array([row[key] for key in keys], pa.int64()))


def _matrix(judgements: pa.Table, grades: int) -> np.ndarray:
    return np.array(judgements["probabilities"].to_pylist(), float).reshape(-1, grades)
