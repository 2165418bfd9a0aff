"""Thresholds of `at-precision` from human grades, with a finite-sample promise.

In: human pairs with their judgements; out: a learned rule and `promise.json`. Pairs of one query depend on each other,
so the unit is the query: its loss is the share of wrong ones among its changed labels, and queries in which nothing
changes do not count. Invariant: the queries that fitted the calibration, or, without one, half of the queries by hash,
choose the order of thresholds and the stakes; only the others are tested, and only once in that order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from relabel.agreement.verdict import percent
from relabel.calibration.human_pairs import HumanPairs
from relabel.calibration.queries import reserved
from relabel.calibration.record import Calibration, not_for
from relabel.errors import InputError
from relabel.labels.at_precision import AtPrecision
from relabel.labels.rule import relevant_probability
from relabel.lineage import QUERIES_SEEN, read_queries_seen
from relabel.promises.label_changes import GRID, Changes, changeable, changes_in
from relabel.promises.risk_control import (
    best_stake,
    betting_p_value,
    binomial_p_value,
    fixed_sequence,
    growth_rate,
)
from relabel.storage import Folder
from relabel.tables import Manifest

PROMISE = "promise.json"
#: Share of the queries that choose the order where no calibration used any.
PILOT = 0.5
#: Thresholds that would change something in fewer queries say nothing about what more grades would bring.
LEAST_QUERIES = 10
#: Half as much evidence again as is needed on average, since what a query is worth varies.
MARGIN = 1.5
ANY_LABEL = (
    "The original labels of the human pairs were not given: the promise is for pairs of any original label, drawn like "
    "those that people graded. Where original labels tell what the judge does not know, fewer of the changed are right."
)
WORDS = {"promote": "promoted", "demote": "demoted"}


def learn(
    rule: AtPrecision, people: HumanPairs, judged: Manifest, seed: int = 0, originals: Folder | None = None
) -> tuple[AtPrecision, dict]:
    """The rule with its thresholds, and the values of `promise.json`.

    Args:
        people: human pairs of queries that the judge has not seen, with judgements of the judge of `judged` or of the
            raw judge behind it.
        judged: manifest of the judgements that the rule will be applied to.
        originals: pairs table with the human pairs' original labels, made as those to be changed were. With it only
            pairs that could be changed count; without it the promise is for pairs of any original label.

    Raises:
        InputError: for another judge's judgements, originals of other pairs, or a calibration that used every query.
    """
    relevant = relevant_of(people, judged)
    pilot = _pilot(people, judged, seed)
    everything = np.ones(len(relevant), bool)
    candidates = changeable(people, originals, rule.include_unlabelled) if originals else {}
    found, thresholds = {}, {}
    for direction in rule.directions:
        could = candidates.get(direction, everything)
        parts = [
            changes_in(direction, relevant[rows], people.relevant[rows], people.queries[rows])
            for rows in (pilot & could, ~pilot & could)
        ]
        found[direction] = threshold(*parts, rule)
        thresholds[f"{direction}_from"] = found[direction]["threshold"]
    queries = people.queries.astype(str)
    facts = {
        "target": rule.target,
        "delta": rule.delta,
        "unit": rule.unit,
        "judge_id": judged.about["judge_id"],
        "originals": originals.uri if originals else None,
        "pairs": len(people.grades),
        "queries_ordering": len(set(queries[pilot])),
        "queries_tested": len(set(queries[~pilot])),
        "directions": found,
        "sentences": [
            *(_sentence(direction, entry, rule) for direction, entry in found.items()),
            *([] if originals else [ANY_LABEL]),
        ],
    }
    return rule.model_copy(update=thresholds | {"learned": True}), facts


def relevant_of(people: HumanPairs, judged: Manifest) -> np.ndarray:
    """P(relevant) [rows] of the human pairs as the judge of `judged` gives it, calibrated where that judge is.

    Raises:
        InputError: for judgements of another judge.
    """
    wanted, have = judged.about.get("judge_id"), people.manifest.about.get("judge_id")
    judgements, address = people.judgements, judged.about.get("calibration")
    if have != wanted:
        calibration = Calibration.read(address) if address else None
        if not calibration or (calibration.judge_id, calibration.calibrated_id) != (have, wanted):
            raise not_for(str(have), str(wanted), "judgements of the human pairs")
        judgements = calibration.applied(judgements)
    return relevant_probability(np.array(judgements["probabilities"].to_pylist(), float), people.manifest.scale)


def _pilot(people: HumanPairs, judged: Manifest, seed: int) -> np.ndarray:
    """The rows whose queries choose the order of tests, bool [rows]."""
    address, chosen = judged.about.get("calibration"), reserved(people.queries, PILOT, seed)
    by_hash = np.array([query in chosen for query in people.queries], bool)
    if not address:
        return by_hash
    folder = Folder(Folder(address).uri.rpartition("/")[0])
    if not folder.exists(QUERIES_SEEN):
        raise InputError(
            address,
            f"no {QUERIES_SEEN} beside it",
            "the list of queries that fitted the calibration",
            "use it where `relabel calibrate` wrote it",
        )
    seen = read_queries_seen(folder)
    used = np.array([query in seen for query in people.queries], bool)
    if not used.any():
        return by_hash
    if used.all():
        raise InputError(
            address,
            "a calibration that was fitted on every query with human grades",
            "queries that it has not seen, to promise a precision on",
            "calibrate with --reserve 0.5 (calibration.reserve in a recipe)",
        )
    return used


def threshold(pilot: Changes, tested: Changes, rule: AtPrecision) -> dict:
    """The loosest threshold that the tested queries promise, the tests that led to it, or why there is none."""
    limit = 1 - rule.target
    stakes = [best_stake(pilot.losses(place), limit) for place in range(len(GRID))]
    start = int(np.argmax([_promising(pilot, place, rule, stakes[place]) for place in range(len(GRID))]))
    tests: list[dict] = []

    def p_values() -> Iterator[float]:
        for place in range(start, len(GRID)):
            tests.append(_test(tested, place, rule, stakes[place]))
            # A threshold at which most queries are right and most pairs wrong would keep the promise and serve nobody.
            yield tests[-1]["p"] if (tests[-1]["pooled"] or 0) >= rule.target else 1.0

    accepted = fixed_sequence(p_values(), rule.delta)
    if accepted:
        return {"threshold": float(GRID[start + accepted - 1]), "reason": "promised", "tests": tests}
    whole = Changes(np.r_[pilot.changed, tested.changed], np.r_[pilot.wrong, tested.wrong])
    return {"threshold": None, "tests": tests} | _why_not(whole, rule, len(tested.changed))


def _promising(pilot: Changes, place: int, rule: AtPrecision, stake: float) -> float:
    """How much a threshold promises by the pilot queries: log capital, or −ln p for pairs."""
    limit = 1 - rule.target
    if rule.unit == "pair":
        p = binomial_p_value(int(pilot.wrong[:, place].sum()), int(pilot.changed[:, place].sum()), limit)
        return -np.log(max(p, 1e-300))
    return float(np.log1p(stake * (limit - pilot.losses(place))).sum())


def _test(tested: Changes, place: int, rule: AtPrecision, stake: float) -> dict:
    losses, limit = tested.losses(place), 1 - rule.target
    changed, wrong = int(tested.changed[:, place].sum()), int(tested.wrong[:, place].sum())
    by_pair = rule.unit == "pair"
    return {
        "threshold": float(GRID[place]),
        "queries": len(losses),
        "pairs": changed,
        "precision": float(1 - losses.mean()) if len(losses) else None,
        "pooled": 1 - wrong / changed if changed else None,
        "p": binomial_p_value(wrong, changed, limit) if by_pair else betting_p_value(losses, limit, stake),
    }


def _why_not(whole: Changes, rule: AtPrecision, tested: int) -> dict:
    """Why nothing is promised: `imprecise` at every threshold, or `few` queries and about how many more it takes.

    The estimate uses all queries at the best threshold: each is worth `growth_rate`, and `MARGIN` · ln(1/δ) is needed;
    at least a quarter of those at hand, since these did not do.
    """
    limit = 1 - rule.target
    best, precisions = {"reason": "imprecise", "queries_more": None}, []
    least = max(1, min(LEAST_QUERIES, len(whole.changed) // 2))
    for place in range(len(GRID)):
        losses = whole.losses(place)
        if len(losses) < least:
            continue
        precisions.append(float(min(1 - losses.mean(), whole.pooled(place))))
        if precisions[-1] < rule.target:
            continue
        rate = growth_rate(losses, limit, best_stake(losses, limit)) * len(losses) / len(whole.changed)
        if rate <= 0:
            continue
        wanted = (MARGIN * np.log(1 / rule.delta) / rate - tested) / (1 - PILOT)
        more = int(np.ceil(max(wanted, len(whole.changed) / 4)))
        if best["queries_more"] is None or more < best["queries_more"]:
            best = {"reason": "few", "queries_more": more}
    return best | {"best_precision": max(precisions, default=None)}


def _sentence(direction: str, entry: dict, rule: AtPrecision) -> str:
    words, of = WORDS[direction], "a query's" if rule.unit == "query" else "the"
    if entry["threshold"] is not None:
        last = next(test for test in entry["tests"] if test["threshold"] == entry["threshold"])
        right = last["precision" if rule.unit == "query" else "pooled"]
        return (
            f"At least {percent(rule.target)} of {of} {words} labels are right in expectation, promised with a risk of "
            f"{percent(rule.delta)}: from a probability of {entry['threshold']:g}, where {percent(right)} were right "
            f"in the {last['queries']} tested queries that it would change ({last['pairs']} pairs)."
        )
    if entry["reason"] == "few":
        return (
            f"Nothing is {words}: the human grades are too few to promise a precision of {percent(rule.target)}; about "
            f"{entry['queries_more']} more queries with grades would be needed."
        )
    if entry["best_precision"] is None:
        return f"Nothing is {words}: the judge is sure enough of that in too few queries to tell how often it is right."
    return (
        f"Nothing is {words}: at no threshold does the judge reach a precision of {percent(rule.target)} on the human "
        f"grades ({percent(entry['best_precision'])} at the best); more grades would not help, a better judge would."
    )
