"""The pairs that people and every judge graded, of queries that the judge has not seen, with their texts where known.

Invariant: what does not enter is counted by its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from relabel.agreement.graders import Judge, People
from relabel.errors import InputError
from relabel.evidence.circularity import queries_seen_by
from relabel.formats.label_files import Pair
from relabel.lineage import seen_by_judge
from relabel.storage import Folder
from relabel.tables import MANIFEST, keys_of, read_whole


@dataclass(frozen=True)
class Common:
    """Pairs on which all graders can be compared.

    Attributes:
        keys: their (query id, document id), in the order of the human grades.
        texts: rows of a pairs table, one a key; None where no table has the texts of all.
        left_out: how many pairs do not enter, and why.
    """

    keys: list[Pair]
    texts: pa.Table | None
    left_out: dict


def common_pairs(people: People, judges: Sequence[Judge], pairs: str | None, seen_by: Mapping[str, Any]) -> Common:
    """Intersect the graders' pairs and leave out queries that the judge was trained on.

    Args:
        pairs: URI of a pairs table with the texts; None: people's own table, or the one that was judged.
        seen_by: what the judgements' manifest says: the trained judge's folder, the queries of examples in its prompt.

    Raises:
        CircularEvidence: where the judge has seen every query.
        InputError: where no pair is common, or texts are needed to tell what the judge has seen and are missing.
    """
    keys = [key for key in people.grades if all(key in judge.grades for judge in judges)]
    if not keys:
        graded = "; ".join(f"{judge.name} {sum(key in people.grades for key in judge.grades)}" for judge in judges)
        raise InputError(
            people.where,
            f"no pair that all judges graded (of the human pairs: {graded})",
            "grades of the same pairs",
            "check the ids, or choose with --judges",
        )
    texts = _texts(people, judges, pairs, keys)
    kept, seen = np.ones(len(keys), bool), set()
    if seen_by_judge(seen_by):
        if texts is None:
            raise InputError(
                people.where,
                "no texts, so queries that the judge has seen cannot be told",
                "a pairs table with the texts of all pairs",
                "add --pairs DIR",
            )
        queries = texts["query"].to_pylist()
        seen = queries_seen_by(seen_by, list(dict.fromkeys(queries)), people.where)
        kept = np.array([query not in seen for query in queries])
    left_out = {
        "human_pairs": len(people.grades),
        "without_a_grade_of": {judge.name: sum(key not in judge.grades for key in people.grades) for judge in judges},
        "graded_by_no_person": {judge.name: sum(key not in people.grades for key in judge.grades) for judge in judges},
        "queries_seen": len(seen),
        "pairs_of_seen_queries": int(np.sum(~kept)),
    }
    keys = [key for key, keep in zip(keys, kept, strict=True) if keep]
    return Common(keys, texts.filter(pa.array(kept)) if texts is not None else None, left_out)


def _texts(people: People, judges: Sequence[Judge], pairs: str | None, keys: Sequence[Pair]) -> pa.Table | None:
    """The rows of a pairs table for these keys; None where there is no table that has them all."""
    table = people.pairs
    if pairs:
        table = read_whole(Folder(pairs), "pairs")
    elif table is None:
        behind = next((judge.about["pairs"] for judge in judges if judge.about.get("pairs")), None)
        if behind and Folder(behind).exists(MANIFEST):
            table = read_whole(Folder(behind), "pairs")
    if table is None:
        return None
    place = {key: row for row, key in enumerate(keys_of(table))}
    missing = [key for key in keys if key not in place]
    if missing and pairs:
        raise InputError(
            pairs,
            f"no text of {len(missing)} pairs, such as {missing[0]}",
            "the texts of all pairs",
            "name the pairs table that holds them",
        )
    return None if missing else table.take([place[key] for key in keys])
