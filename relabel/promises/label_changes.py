"""What thresholds of a judge's probability would change, query by query, and how much of it people call wrong.

In: probabilities and human grades of pairs; out: counts by query and threshold. Only `changeable` reads a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relabel.calibration.human_pairs import HumanPairs
from relabel.errors import InputError
from relabel.evidence.significance import Interval, bootstrap, mean_interval, ratio
from relabel.labels.rule import TOLERANCE
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole

#: Thresholds that are tried; fixed, so that no data choose them. Strictest first.
GRID = np.r_[0.999, 0.995, np.arange(99, 49, -1) / 100]


@dataclass(frozen=True)
class Changes:
    """Labels that each threshold of `GRID` would change, and the wrong ones among them, int [queries, thresholds]."""

    changed: np.ndarray
    wrong: np.ndarray

    @classmethod
    def of(cls, certainty: np.ndarray, wrong: np.ndarray, queries: np.ndarray) -> Changes:
        """From each pair's probability of the new side [rows], whether that side is wrong [rows], and query [rows]."""
        names, query = np.unique(queries.astype(str), return_inverse=True)
        over = certainty[:, None] >= GRID - TOLERANCE
        order = np.argsort(query, kind="stable")
        starts = np.searchsorted(query[order], np.arange(len(names)))
        sums = (
            np.add.reduceat(flags[order].astype(np.int64), starts, axis=0) for flags in (over, over & wrong[:, None])
        )
        return cls(*sums)

    def losses(self, place: int) -> np.ndarray:
        """Share of wrong ones in each query in which something changes, at the threshold at `place` of the grid."""
        some = self.changed[:, place] > 0
        return self.wrong[some, place] / self.changed[some, place]

    def precision(self, place: int, unit: str) -> Interval:
        """The precision that `unit` promises, with a BCa interval over queries."""
        if unit == "query":
            return mean_interval(1 - self.losses(place))
        changed, right = self.changed[:, place], self.changed[:, place] - self.wrong[:, place]
        return bootstrap(lambda weights: ratio(weights @ right, weights @ changed), len(changed))

    def pooled(self, place: int) -> float:
        """Share of right ones over all changed labels; NaN where nothing changes."""
        changed = self.changed[:, place].sum()
        return float(1 - self.wrong[:, place].sum() / changed) if changed else float("nan")


def changes_in(direction: str, relevant: np.ndarray, truth: np.ndarray, queries: np.ndarray) -> Changes:
    """Changes of promotions (`promote`: to relevant) or demotions.

    Args:
        relevant: the judge's P(relevant) [rows].
        truth: whether people call the pair relevant, bool [rows].
        queries: of each pair [rows].
    """
    if direction == "promote":
        return Changes.of(relevant, ~truth, queries)
    return Changes.of(1 - relevant, truth, queries)


def changeable(people: HumanPairs, originals: Folder, include_unlabelled: bool) -> dict[str, np.ndarray]:
    """Which human pairs a rule could change, bool [rows] for each direction, by their original labels.

    Args:
        originals: a pairs table with the original labels of the human pairs; pairs that it lacks are in neither.
        include_unlabelled: whether pairs without an original label may be promoted.

    Raises:
        InputError: for labels without a scale, and where none of the human pairs is in the table.
    """
    table, scale = read_whole(originals, "pairs", ["query_id", "doc_id", "label"]), read_manifest(originals).scale
    if scale is None:
        raise InputError(originals.uri, "a table without a scale", "the grades that the original labels are on")
    columns = (table[name].to_pylist() for name in table.column_names)
    label_of = {(query, doc): label for query, doc, label in zip(*columns, strict=True)}
    judged = people.judgements
    keys = list(zip(judged["query_id"].to_pylist(), judged["doc_id"].to_pylist(), strict=True))
    known = np.array([key in label_of for key in keys], bool)
    if not known.any():
        raise InputError(originals.uri, "none of the pairs with human grades", "their original labels")
    label = np.array([label_of.get(key) for key in keys], float)
    positive = label >= scale.relevant_from
    negative = (label < scale.relevant_from) | (np.isnan(label) & include_unlabelled)
    return {"promote": known & negative, "demote": known & positive}
