"""The part of `agree` that orders systems: rankings from TREC run files, or built over the judged pairs.

Invariant: rankings that were built here are never mixed with run files, and a note says which they are and when there
are too few of them, or too few judged documents at their top, to mean much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from relabel.agreement.graders import HUMAN
from relabel.agreement.judge_comparison import Draws
from relabel.agreement.pool_rankings import pool_rankings
from relabel.agreement.system_order import (
    CUTOFF,
    FEW_SYSTEMS,
    Ranking,
    chance_overlap,
    order_agreement,
    system_orders,
)
from relabel.errors import ConfigError, InputError
from relabel.formats.label_files import Pair
from relabel.formats.trec import read_run
from relabel.records import Scale

MEASURE = f"nDCG@{CUTOFF} (linear gain)"
#: Below this share of judged documents in the top of a system its nDCG says little.
LITTLE_JUDGED = 0.5


def order_of_systems(
    graders: Mapping[str, tuple[Mapping[Pair, int], Scale]],
    keys: Sequence[Pair],
    texts: pa.Table | None,
    runs: Sequence[str],
    zero_shot: str | None,
    p: float,
    draws: Draws,
    log: Callable[[str], None],
) -> dict:
    """`agree.json`'s `systems`: nDCG of each system under each grader, τ and rank-biased overlap of each judge.

    Without run files and texts there is nothing to order: `judges` and `systems` are empty and a note says so.

    Args:
        graders: name → (grade of every key, scale); `human` and the judges.
        keys: the pairs, the only ones that count.
        texts: their rows of a pairs table, None where unknown.
        runs: TREC run files.
        zero_shot: encoder among the rankings built here.
        p: persistence of rank-biased overlap.

    Raises:
        ConfigError: for two systems of one name.
        InputError: for a run file that cannot be read or that ranks none of the queries.
    """
    query_ids = list(dict.fromkeys(query_id for query_id, _ in keys))
    empty = {"source": "", "measure": MEASURE, "p": p, "chance_overlap": None, "systems": [], "judges": {}}
    if not runs and texts is None:
        note = (
            "No order of systems: there are neither run files nor texts to build rankings from (add --runs or --pairs)."
        )
        return empty | {"notes": [note]}
    rankings = run_rankings(runs, query_ids) if runs else {}
    if not runs:
        log(f"agree: building rankings over {len(keys):,} judged pairs")
        for name, scores in pool_rankings(texts, zero_shot, draws.seed):
            rankings[name] = _by_query(keys, scores)
    graders = {name: ({key: grades[key] for key in keys}, scale) for name, (grades, scale) in graders.items()}
    orders = system_orders(rankings, graders, query_ids)
    human, count = orders.ndcg[HUMAN], len(orders.systems)
    return empty | {
        "source": "run files" if runs else "rankings built here",
        "chance_overlap": chance_overlap(count, p),
        "systems": [
            {
                "name": name,
                "judged_at_10": judged,
                "ndcg": {who: float(v[:, place].mean()) for who, v in orders.ndcg.items()},
            }
            for place, (name, judged) in enumerate(zip(orders.systems, orders.judged, strict=True))
        ],
        "judges": {
            name: order_agreement(human, judge, p, draws.resamples, draws.confidence, draws.seed)
            for name, judge in orders.ndcg.items()
            if name != HUMAN
        },
        "notes": [*_notes(orders.systems, orders.judged, bool(runs)), *_gaps(rankings, query_ids)],
    }


def run_rankings(runs: Sequence[str], query_ids: Sequence[str]) -> dict[str, Ranking]:
    """System → its scores for these queries, from TREC run files."""
    wanted, rankings, files = set(query_ids), {}, {}
    for uri in runs:
        for line in read_run(uri):
            if files.setdefault(line.system, uri) != uri:
                raise ConfigError("runs", f"two files of the system {line.system!r} ({files[line.system]}, {uri})",
                                  "one file a system", "change the last column of one")  # fmt: skip
            ranking = rankings.setdefault(line.system, {})
            if line.query_id in wanted:
                ranking.setdefault(line.query_id, {})[line.doc_id] = line.score
        empty = [name for name, file in files.items() if file == uri and not rankings[name]]
        if empty:
            raise InputError(uri, f"no query of the graded pairs in the system {empty[0]!r}",
                             f"rankings for queries such as {query_ids[0]!r}", "check the query ids")  # fmt: skip
    return rankings


def _gaps(rankings: Mapping[str, Ranking], query_ids: Sequence[str]) -> list[str]:
    """A note for each system that ranks nothing for some queries."""
    missing = {name: sum(query_id not in ranking for query_id in query_ids) for name, ranking in rankings.items()}
    return [
        f"{name} ranks nothing for {count} of {len(query_ids)} queries: its nDCG there is 0."
        for name, count in missing.items()
        if count
    ]


def _by_query(keys: Sequence[Pair], scores) -> Ranking:
    ranking: dict[str, dict[str, float]] = {}
    for (query_id, doc_id), score in zip(keys, scores.tolist(), strict=True):
        ranking.setdefault(query_id, {})[doc_id] = score
    return ranking


def _notes(systems: Sequence[str], judged: Sequence[float], from_runs: bool) -> list[str]:
    notes = []
    if not from_runs:
        notes.append("The systems were built here over the judged pairs and lie far apart: real competitors are harder "
                     "to put in order.")  # fmt: skip
    if len(systems) < FEW_SYSTEMS:
        notes.append(f"{len(systems)} systems are few: τ counts {len(systems) * (len(systems) - 1) // 2} pairs of "
                     f"systems and means little.")  # fmt: skip
    low = [name for name, share in zip(systems, judged, strict=True) if share < LITTLE_JUDGED]
    if low:
        notes.append(f"Less than half of the top {CUTOFF} is judged for {', '.join(low)}: unjudged documents count as "
                     f"not relevant.")  # fmt: skip
    return notes
