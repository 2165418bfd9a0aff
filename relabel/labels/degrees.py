"""Degrees before and after a rule, as columns: the fifths they fall into, and which rows crossed into relevance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.labels.rule import TOLERANCE, relevant_probability
from relabel.records import Scale

#: Fifths of the relevance degree: each grade of a scale with two to five grades falls into its own.
BUCKETS = ("0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1.0")
BEFORE = (*BUCKETS, "unlabelled")
AFTER = (*BUCKETS, "unlabelled", "weight 0")


class LabelColumns:
    """Columns of one labels table that counts and examples are taken from, each [n].

    Attributes:
        rows: true everywhere.
        before, after: degrees, NaN without a label.
        before_bucket, after_bucket: numbers in `BEFORE` and `AFTER`.
        dropped: has a label but weight 0.
        was_relevant: relevant by its original label.
        changed: the row left the diagonal of `BEFORE` × `AFTER`.
        became, ceased: became relevant, ceased to be relevant (by label; a dropped row does neither).
        original: number of the original grade (labels between grades count to the lower); the last is unlabelled.
        judge_grade: number of the judge's grade; the last is unjudged.
        relevant: the judge's P(grade ≥ relevant_from), NaN where unjudged.
    """

    def __init__(self, labels: pa.Table, original_scale: Scale, judge_scale: Scale):
        self.rows = np.ones(labels.num_rows, bool)
        label = labels["original_label"].to_numpy().astype(np.float64)
        self.before = original_scale.degree(label)
        self.after = labels["label"].to_numpy().astype(np.float64)
        self.dropped = (labels["weight"].to_numpy() == 0) & ~np.isnan(self.after)
        self.before_bucket = bucket_of(self.before)
        self.after_bucket = np.where(self.dropped, AFTER.index("weight 0"), bucket_of(self.after))
        self.changed = self.before_bucket != self.after_bucket
        boundary = boundary_degree(original_scale)
        self.was_relevant = self.before >= boundary
        self.became = ~self.was_relevant & (self.after >= boundary)
        self.ceased = self.was_relevant & (self.after < boundary)
        grades = np.array(original_scale.grades)
        at_or_below = np.searchsorted(grades, label + TOLERANCE, side="right") - 1
        self.original = np.where(np.isnan(label), len(grades), at_or_below)
        unjudged = labels["judge_grade"].is_null().to_numpy()
        grade = np.searchsorted(judge_scale.grades, labels["judge_grade"].fill_null(judge_scale.grades[0]).to_numpy())
        self.judge_grade = np.where(unjudged, len(judge_scale.grades), grade)
        self.relevant = np.full(labels.num_rows, np.nan)
        flat = pc.list_flatten(labels["judge_probabilities"]).to_numpy().astype(np.float64)
        self.relevant[~unjudged] = relevant_probability(flat.reshape(-1, len(judge_scale.grades)), judge_scale)


def bucket_of(degree: np.ndarray) -> np.ndarray:
    """Number of the fifth of [0, 1] that a degree falls into, int64 [n]; `len(BUCKETS)` for NaN."""
    missing = np.isnan(degree)
    fifth = np.minimum((np.where(missing, 0.0, degree) + TOLERANCE) * len(BUCKETS), len(BUCKETS) - 1)
    return np.where(missing, len(BUCKETS), fifth.astype(np.int64))


def boundary_degree(scale: Scale) -> float:
    """The degree from which a soft label counts as relevant: half way between the grades on either side."""
    below = scale.grades[scale.grades.index(scale.relevant_from) - 1]
    return (scale.relevant_degree + scale.degree(below)) / 2
