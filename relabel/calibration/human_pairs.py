"""Judgements joined with human grades: what calibration and promises are learned from.

In: a judgements table and the pairs table with human labels that it judged. Invariant: no label made by a judge and
no query that the judge was trained on is among the rows; what was left out is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.errors import CircularEvidence, InputError
from relabel.evidence.circularity import refuse_judge_labels
from relabel.lineage import query_fingerprint, seen_by_judge
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import Manifest, read_manifest, read_whole, rows_by_key


@dataclass(frozen=True)
class HumanPairs:
    """Judged pairs with a human grade.

    Attributes:
        grades: human grades, float64 [rows], on `human_scale`.
        judgements: their rows of `JUDGEMENTS`, in the same order.
        queries: fingerprint of each row's query [rows].
        human_scale: scale of the human grades.
        manifest: of the judgements; has the judge's scale.
        left_out: pairs of queries that the judge has seen, and pairs without a judgement.
    """

    grades: np.ndarray
    judgements: pa.Table
    queries: np.ndarray
    human_scale: Scale
    manifest: Manifest
    left_out: dict[str, int]

    @property
    def relevant(self) -> np.ndarray:
        """Whether people call the pair relevant, bool [rows]."""
        return self.grades >= self.human_scale.relevant_from

    def only(self, rows: np.ndarray) -> HumanPairs:
        """Those rows for which `rows` (bool [rows]) holds."""
        return HumanPairs(
            self.grades[rows],
            self.judgements.filter(pa.array(rows)),
            self.queries[rows],
            self.human_scale,
            self.manifest,
            self.left_out,
        )


def read_human_pairs(judgements: Folder, human: Folder) -> HumanPairs:
    """Join by key.

    Raises:
        CircularEvidence: for labels made by a judge, and where the judge was trained on every query.
        InputError: for a table without a scale, or no judged pair with a human grade.
    """
    manifest, human_scale = read_manifest(judgements, "judgements"), read_manifest(human, "pairs").scale
    if human_scale is None or manifest.scale is None:
        raise InputError((human if human_scale is None else judgements).uri, "a table without a scale", "a scale")
    pairs = refuse_judge_labels(read_whole(human, "pairs"), human.uri).filter(pc.field("label").is_valid())
    judged = read_whole(judgements, "judgements")
    rows = rows_by_key(pairs, judged)
    if not np.any(rows >= 0):
        raise InputError(judgements.uri, f"no judgement of the {pairs.num_rows} human pairs", "judgements of them")
    seen = seen_by_judge(manifest.about)
    queries = np.array([query_fingerprint(text) for text in pairs["query"].to_pylist()], dtype=object)
    fresh = np.array([query not in seen for query in queries], dtype=bool)
    keep = fresh & (rows >= 0)
    if not keep.any():
        raise CircularEvidence(
            human.uri,
            "only queries that the judge was trained on",
            "human grades of other queries",
            "keep some queries of the human grades out of the judge's training",
        )
    return HumanPairs(
        pairs["label"].to_numpy().astype(np.float64)[keep],
        judged.take(pa.array(rows[keep])),
        queries[keep],
        human_scale,
        manifest,
        {"pairs_of_seen_queries": int(np.sum(~fresh)), "pairs_without_judgement": int(np.sum(fresh & (rows < 0)))},
    )
