"""`calibration.json`: a fitted calibration, whom it belongs to, and what it does to a table of judgements.

The file is read as untrusted input: every parameter is validated by its method's class, and a content hash tells an
edited file. Invariant: it is applied to the judge that it was fitted for and to no other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.calibration import METHODS
from relabel.calibration.cuts import cut_class
from relabel.calibration.median import median_class
from relabel.calibration.method import Method, log_normalised
from relabel.errors import ConfigError, InputError
from relabel.records import JUDGEMENTS, Scale
from relabel.storage import Folder

CALIBRATION = "calibration.json"
VERSION = 1


@dataclass(frozen=True)
class Calibration:
    """A fitted method and its judge.

    Attributes:
        method: with its parameters.
        judge_id: of the judge as it was fitted: raw, without a calibration.
        judge_scale: grades of that judge.
        classes: which grades form a class, ascending: one each, or those below and from `relevant_from` on where
            people graded on a scale with another number of grades. Inside a class the judge's own shares stay.
        cuts: of the expected grade, one fewer than grades, that a pair is called by; null: the median is called.
        facts: what it was fitted on and how well it did; JSON values that decide nothing.
    """

    method: Method
    judge_id: str
    judge_scale: Scale
    classes: tuple[tuple[int, ...], ...]
    facts: dict[str, Any] = field(default_factory=dict)
    cuts: tuple[float, ...] | None = None

    @property
    def content(self) -> dict[str, Any]:
        """What decides a calibrated judgement."""
        return {
            "version": VERSION,
            "method": self.method.name,
            "parameters": self.method.model_dump(mode="json"),
            "judge_id": self.judge_id,
            "judge_scale": self.judge_scale.to_json(),
            "classes": [list(grades) for grades in self.classes],
            **({"cuts": list(self.cuts)} if self.cuts else {}),
        }

    @property
    def hash(self) -> str:
        """64 hexadecimal digits over `content`."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    @property
    def calibrated_id(self) -> str:
        """Id of the calibrated judge: `<engine>-<16 hex>` of the raw judge's id and this content."""
        engine = self.judge_id.rpartition("-")[0]
        return f"{engine}-{hashlib.sha256(f'{self.judge_id} {self.hash}'.encode()).hexdigest()[:16]}"

    def probabilities(self, logprobs: np.ndarray) -> np.ndarray:
        """Calibrated distributions [rows, grades] of raw log-probabilities of the grade tokens [rows, grades]."""
        by_class = log_normalised(class_logprobs(logprobs, self.judge_scale, self.classes))
        calibrated = self.method.apply(by_class)
        inside = np.exp(log_normalised(logprobs))
        found = np.zeros_like(inside)
        for number, grades in enumerate(self.classes):
            places = [self.judge_scale.grades.index(grade) for grade in grades]
            shares = inside[:, places] / inside[:, places].sum(axis=1, keepdims=True)
            found[:, places] = calibrated[:, [number]] * shares
        return found / found.sum(axis=1, keepdims=True)

    def called(self, probabilities: np.ndarray) -> np.ndarray:
        """The place of the grade that each calibrated distribution [rows, grades] is called, int [rows]."""
        if self.cuts is None:
            return median_class(probabilities)
        return cut_class(probabilities @ np.array(self.judge_scale.grades), np.array(self.cuts))

    def applied(self, judgements: pa.Table) -> pa.Table:
        """`judgements` of the raw judge with calibrated `probabilities`, `score`, `grade` and `judge_id`.

        Raises:
            InputError: for judgements of another judge, or log-probabilities that do not fit its scale.
        """
        others = [name for name in pc.unique(judgements["judge_id"]).to_pylist() if name != self.judge_id]
        if others:
            raise not_for(others[0], self.judge_id, "judgements")
        probabilities = self.probabilities(logprobs_of(judgements, self.judge_scale))
        grades = np.array(self.judge_scale.grades)
        columns = {
            "grade": pa.array(grades[self.called(probabilities)], pa.int32()),
            "score": pa.array((probabilities @ grades).astype(np.float32)),
            "probabilities": _lists(probabilities),
            "judge_id": pa.repeat(pa.scalar(self.calibrated_id, pa.string()), judgements.num_rows),
        }
        return pa.table([columns.get(name, judgements[name]) for name in JUDGEMENTS.names], schema=JUDGEMENTS)

    def write(self, folder: Folder) -> None:
        folder.write_json(CALIBRATION, self.content | {"hash": self.hash, "facts": self.facts})

    @classmethod
    def read(cls, address: str) -> Self:
        """The calibration in the file at `address`.

        Raises:
            InputError: for a file that is missing, is none of ours, was edited, or has parameters out of range.
        """
        parent, _, name = Folder(address).uri.rpartition("/")
        values = Folder(parent or "/").read_json(name)
        try:
            if values["version"] != VERSION:
                raise InputError(address, f"version {values['version']!r}", f"version {VERSION}", "calibrate again")
            if values["method"] not in METHODS:
                raise InputError(address, f"the unknown method {values['method']!r}", f"one of {', '.join(METHODS)}")
            found = cls(
                METHODS[values["method"]].load(values["parameters"], address),
                str(values["judge_id"]),
                Scale.from_json(values["judge_scale"]),
                tuple(tuple(int(grade) for grade in grades) for grades in values["classes"]),
                dict(values.get("facts") or {}),
                tuple(float(cut) for cut in values["cuts"]) if values.get("cuts") else None,
            )
            stored = values["hash"]
        except ConfigError as error:
            raise InputError(error.where, error.found, error.wanted, "calibrate again") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                address, f"a calibration that cannot be read ({error!r})", "a file of `relabel calibrate`"
            ) from None
        if sum(found.classes, ()) != found.judge_scale.grades or not found.method.fits(len(found.classes)):
            raise InputError(
                address,
                f"parameters for other classes than {[list(grades) for grades in found.classes]}",
                f"classes that make up the grades {list(found.judge_scale.grades)}, and parameters for each",
                "calibrate again",
            )
        if found.cuts is not None and not _fit_grades(found.cuts, found.judge_scale):
            raise InputError(
                address,
                f"the cuts {list(found.cuts)}",
                f"{len(found.judge_scale.grades) - 1} ascending numbers",
                "calibrate again",
            )
        if found.hash != stored:
            raise InputError(address, f"content that does not have its hash {stored}", found.hash, "calibrate again")
        return found


def not_for(judge_id: str, wanted: str, where: str) -> InputError:
    """The error of a calibration that meets another judge than its own."""
    return InputError(
        where,
        f"the judge {judge_id}",
        f"the judge that the calibration was fitted for, {wanted}",
        "run `relabel calibrate` on judgements of this judge",
    )


def _fit_grades(cuts: tuple[float, ...], scale: Scale) -> bool:
    return len(cuts) == len(scale.grades) - 1 and bool(np.isfinite(cuts).all() and (np.diff(cuts) >= 0).all())


def class_logprobs(logprobs: np.ndarray, scale: Scale, classes: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Log-probabilities of classes [rows, classes] from those of grades [rows, grades]."""
    values = log_normalised(logprobs)
    places = [[scale.grades.index(grade) for grade in grades] for grades in classes]
    return np.stack([np.log(np.exp(values[:, place]).sum(axis=1)) for place in places], axis=1)


def logprobs_of(judgements: pa.Table, scale: Scale) -> np.ndarray:
    """Raw log-probabilities, float64 [rows, grades].

    Raises:
        InputError: for a row with another number of them, or one that is no number.
    """
    lists, grades = judgements["logprobs"], len(scale.grades)
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    flat = pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.float64)
    if (lengths != grades).any() or not np.isfinite(flat).all():
        raise InputError("judgements: logprobs", "a row without a number for each grade", f"{grades} numbers in each")
    return flat.reshape(-1, grades)


def _lists(values: np.ndarray) -> pa.Array:
    rows, width = values.shape
    return pa.ListArray.from_arrays(
        pa.array(np.arange(rows + 1) * width, pa.int32()), pa.array(values.astype(np.float32).ravel(), pa.float32())
    )
