"""What a rule changed: counts over labels tables that add up over shards; LABELS in, `change.json` out.

A row counts as changed when it leaves the diagonal of the transition matrix: its degree falls into another fifth of
[0, 1], it gains a label, or its weight becomes 0. Invariants: all sums are integers and all orders total, so shards
can be added in any order with the same result; memory grows with the number of shards, not of rows or queries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from relabel.labels.degrees import AFTER, BEFORE, LabelColumns
from relabel.labels.examples import merged, surest_changes
from relabel.labels.query_change import QueryCounts
from relabel.records import Scale

#: What is counted for each original label.
COUNTED = ("rows", "changed", "became_relevant", "ceased_to_be_relevant", "weight_zeroed")


@dataclass(frozen=True)
class ChangeCounts:
    """Counts of one or more shards of a labels table.

    Attributes:
        original_scale, judge_scale: the scales that the labels were adjusted with.
        transitions: int64 [BEFORE, AFTER], rows by degree before and after.
        by_original: int64 [original grades + 1, COUNTED], counts by original label (last: unlabelled).
        judge_grades: int64 [original grades + 1, grades + 1], the judge's grade (last: unjudged) by original label.
        actions: rows by action.
        queries: changes by query.
        examples: `raised`, `lowered` and `dropped` rows, surest first.
    """

    original_scale: Scale
    judge_scale: Scale
    transitions: np.ndarray
    by_original: np.ndarray
    judge_grades: np.ndarray
    actions: Counter
    queries: QueryCounts
    examples: dict[str, tuple[dict, ...]]

    @classmethod
    def of(cls, labels: pa.Table, original_scale: Scale | None, judge_scale: Scale) -> ChangeCounts:
        """Counts of one shard of a labels table; `original_scale` None where no pair had a label."""
        original_scale = original_scale or judge_scale
        columns = LabelColumns(labels, original_scale, judge_scale)
        kinds = len(original_scale.grades) + 1
        actions = labels["action"].value_counts().to_pylist()
        counted = (columns.rows, columns.changed, columns.became, columns.ceased, columns.dropped)
        return cls(
            original_scale=original_scale,
            judge_scale=judge_scale,
            transitions=_crosstab(columns.before_bucket, columns.after_bucket, len(BEFORE), len(AFTER)),
            by_original=np.stack([np.bincount(columns.original[rows], minlength=kinds) for rows in counted], axis=1),
            judge_grades=_crosstab(columns.original, columns.judge_grade, kinds, len(judge_scale.grades) + 1),
            actions=Counter({entry["values"]: entry["counts"] for entry in actions}),
            queries=QueryCounts.of(labels["query_id"], labels["query"], columns.changed),
            examples=surest_changes(labels, columns),
        )

    def __add__(self, other: ChangeCounts) -> ChangeCounts:
        """Counts of both; shards may be added in any order."""
        return ChangeCounts(
            original_scale=self.original_scale,
            judge_scale=self.judge_scale,
            transitions=self.transitions + other.transitions,
            by_original=self.by_original + other.by_original,
            judge_grades=self.judge_grades + other.judge_grades,
            actions=self.actions + other.actions,
            queries=self.queries + other.queries,
            examples={kind: merged(self.examples[kind], other.examples[kind]) for kind in self.examples},
        )

    def to_json(self) -> dict:
        """The change report, JSON values only; each share is of the rows (or queries) counted beside it."""
        return {
            **_counts(self.by_original.sum(axis=0)),
            "actions": dict(sorted(self.actions.items())),
            "transitions": {"before": list(BEFORE), "after": list(AFTER), "rows": self.transitions.tolist()},
            "by_original_label": [
                self._of_original_label(row, label) for row, label in enumerate((*self.original_scale.grades, None))
            ],
            "by_query": self.queries.to_json(),
            "examples": {kind: list(entries) for kind, entries in self.examples.items()},
        }

    def _of_original_label(self, row: int, label: int | None) -> dict:
        grades = (*map(str, self.judge_scale.grades), "unjudged")
        of_judge = dict(zip(grades, self.judge_grades[row].tolist(), strict=True))
        return {"label": label, **_counts(self.by_original[row]), "judge_grades": of_judge}


def _counts(counted: np.ndarray) -> dict:
    values = dict(zip(COUNTED, counted.tolist(), strict=True))
    return values | {"share_changed": round(values["changed"] / values["rows"], 6) if values["rows"] else None}


def _crosstab(first: np.ndarray, second: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.bincount(first * columns + second, minlength=rows * columns).reshape(rows, columns)
