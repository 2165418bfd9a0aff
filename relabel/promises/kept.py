"""Promised against achieved: the learned thresholds of `at-precision` on human grades that they were not learned on.

In: labels folders with `promise.json`, judgements of the test's pairs and their human grades; out: `promises.json`.
Invariant: the judge is the one that the labels were made with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from relabel.agreement.verdict import number, with_interval
from relabel.calibration.human_pairs import HumanPairs, read_human_pairs
from relabel.lineage import read_queries_seen
from relabel.promises.label_changes import GRID, changes_in
from relabel.promises.learn import PROMISE, WORDS, relevant_of
from relabel.storage import Folder
from relabel.tables import Manifest, read_manifest

PROMISES = "promises.json"


def measure_promises(
    labels: Mapping[str, Folder],
    judgements: Folder,
    human: Folder,
    out: Folder,
    log: Callable[[str], None] = print,
) -> dict:
    """Promised against achieved for each rule: writes `promises.json` into `out` and returns it.

    Args:
        labels: rule → folder of its labels, with `promise.json`.
        judgements: of pairs with human grades, by the judge that the labels were made with.
        human: these pairs; those of queries that the thresholds were learned on are left out.

    Raises:
        CircularEvidence: for human grades of queries that the judge has seen.
        InputError: for judgements of another judge.
    """
    people, manifest = read_human_pairs(judgements, human), read_manifest(judgements, "judgements")
    found = {}
    for name, folder in labels.items():
        promise = folder.read_json(PROMISE)
        seen = read_queries_seen(folder)
        fresh = people.only(np.array([query not in seen for query in people.queries], bool))
        found[name] = promise | {"achieved": achieved(promise, fresh, manifest) if len(fresh.grades) else {}}
        for sentence in achieved_sentences(found[name]):
            log(f"promises: {name}: {sentence}")
    out.write_json(PROMISES, found)
    return found


def achieved(promise: dict, people: HumanPairs, judged: Manifest) -> dict:
    """Precision that the thresholds of `promise.json` reach on other human pairs, by direction.

    `precision` is the promised mean (over queries, or over pairs), with a BCa interval over queries; `kept` is whether
    that interval reaches the target, null where nothing would change.
    """
    relevant, found = relevant_of(people, judged), {}
    for direction, entry in promise["directions"].items():
        if entry["threshold"] is None:
            continue
        place = int(np.argmin(np.abs(GRID - entry["threshold"])))
        changes = changes_in(direction, relevant, people.relevant, people.queries)
        interval = changes.precision(place, promise["unit"]).to_json()
        reached = [value for value in (interval["high"], interval["value"]) if value is not None]
        found[direction] = {
            "precision": interval,
            "pooled": None if np.isnan(changes.pooled(place)) else changes.pooled(place),
            "queries": len(changes.losses(place)),
            "pairs": int(changes.changed[:, place].sum()),
            "kept": max(reached) >= promise["target"] if reached else None,
        }
    return found


def achieved_sentences(found: dict) -> list[str]:
    """Promised against achieved in words, one sentence a direction, from a promise with `achieved` beside it."""
    lines = []
    for direction, entry in found["achieved"].items():
        words, precision = WORDS[direction], with_interval(entry["precision"])
        promised = f"promised {found['target']:.2f} for {words} labels"
        if entry["kept"] is None:
            lines.append(f"{promised}: no test pair would be {words}.")
            continue
        verdict = "the promise holds" if entry["kept"] else "the promise is broken"
        lines.append(
            f"{promised}, achieved {precision} on {entry['queries']} test queries ({entry['pairs']} pairs, "
            f"{number(entry['pooled'])} of them right): {verdict}."
        )
    return lines
