"""Human pairs beside the judgements of every member, joined by key, without labels and queries that prove nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.errors import CircularEvidence, InputError
from relabel.evidence.circularity import refuse_judge_labels
from relabel.lineage import query_fingerprint
from relabel.panel.contributions import Truth
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import read_whole, rows_by_key

#: Fewer queries than this make neither folds nor intervals.
LEAST_QUERIES = 5


@dataclass(frozen=True)
class Joined:
    """Human pairs that every member judged, and each member's judgements of them in the same order."""

    pairs: pa.Table
    judged: list[pa.Table]
    left_out: dict[str, int]


def join(human: Folder, judgements: list[Folder], names: list[str], seen: set[str]) -> Joined:
    """The labelled human pairs of unseen queries that every member judged.

    A pair that a member lacks, because it was quarantined or never asked, is left out for all and counted: when the
    panel judges, it quarantines such a pair as well.

    Args:
        human: a pairs table.
        judgements: tables of the members, `names` in the same order.
        seen: fingerprints of the queries that a trained member has seen; their pairs are left out and counted.

    Raises:
        CircularEvidence: for labels made by a judge, and where no query is left.
        InputError: where a member judged none of the pairs.
    """
    pairs = refuse_judge_labels(read_whole(human, "pairs"), human.uri)
    pairs = pairs.filter(pc.is_valid(pairs["label"]))
    texts = pairs["query"].unique().to_pylist()
    seen_texts = [text for text in texts if query_fingerprint(text) in seen]
    fresh = pairs.filter(pc.invert(pc.is_in(pairs["query"], pa.array(seen_texts, pa.string()))))
    if texts and not fresh.num_rows:
        raise CircularEvidence(
            human.uri,
            f"only queries that a member was trained on ({len(seen_texts)})",
            "human grades of other queries",
            "keep some queries of the human grades out of the judges' training",
        )
    left_out = {"pairs_of_seen_queries": pairs.num_rows - fresh.num_rows}
    places, tables = [], []
    for folder, name in zip(judgements, names, strict=True):
        table = read_whole(folder, "judgements")
        places.append(rows_by_key(fresh, table))
        tables.append(table)
        left_out[f"not_judged_by_{name}"] = int(np.sum(places[-1] < 0))
        if not np.any(places[-1] >= 0):
            raise InputError(folder.uri, f"no judgement of the {fresh.num_rows} human pairs", "judgements of them")
    everywhere = np.all([place >= 0 for place in places], axis=0)
    judged = [table.take(pa.array(place[everywhere])) for table, place in zip(tables, places, strict=True)]
    return Joined(fresh.filter(pa.array(everywhere)), judged, left_out)


def truth_of(pairs: pa.Table, scale: Scale, where: str) -> Truth:
    """Grades and queries as numbers; queries of one normalised text are one query.

    Raises:
        InputError: for a label that is no grade of the scale, too few queries, and pairs that are all relevant or none.
    """
    labels = pairs["label"].to_numpy()
    wrong = labels[~np.isin(labels, scale.grades)]
    if len(wrong):
        raise InputError(where, f"the label {wrong[0]:g}", f"whole grades, one of {list(scale.grades)}")
    prints = [query_fingerprint(text) for text in pairs["query"].to_pylist()]
    query = np.unique(np.array(prints, dtype=object).astype(str), return_inverse=True)[1]
    queries = int(query.max()) + 1 if len(query) else 0
    if queries < LEAST_QUERIES:
        raise InputError(where, f"{queries} queries that all members judged", f"at least {LEAST_QUERIES}")
    truth = Truth(np.searchsorted(scale.grades, labels), query, queries, scale)
    if len(set(truth.relevant)) < 2:
        raise InputError(
            where, "only relevant or only other pairs", f"labels below {scale.relevant_from} and from it on"
        )
    return truth
