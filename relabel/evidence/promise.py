"""Thresholds of `at-precision` from human grades, with a finite-sample promise; and what came of it on other grades.

In: human pairs with their judgements; out: a learned rule and `promise.json`. Pairs of one query depend on each other,
so the unit is the query: its loss is the share of wrong ones among its changed labels, and queries in which nothing
changes do not count. Invariant: the queries that fitted the calibration, or, without one, half of the queries by hash,
choose the order of thresholds and the stakes; only the others are tested, and only once in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from relabel.calibration.human_pairs import HumanPairs, read_human_pairs
from relabel.calibration.queries import reserved
from relabel.calibration.record import Calibration, not_for
from relabel.errors import InputError
from relabel.evidence.risk_control import (
    best_stake,
    betting_p_value,
    binomial_p_value,
    fixed_sequence,
    growth_rate,
)
from relabel.evidence.significance import mean_interval
from relabel.evidence.verdict import number, with_interval
from relabel.labels.at_precision import AtPrecision
from relabel.labels.rule import TOLERANCE, relevant_probability
from relabel.lineage import read_queries_seen
from relabel.storage import Folder
from relabel.tables import Manifest, read_manifest

#: In a labels folder; in the evidence folder, of all rules, with what was achieved.
PROMISE, PROMISES = "promise.json", "promises.json"
#: Thresholds of a probability that are tried; fixed, so that no data choose them. Strictest first.
GRID = np.r_[0.999, 0.995, np.arange(99, 49, -1) / 100]
#: Share of the queries that choose the order where no calibration used any.
PILOT = 0.5
#: Thresholds that would change something in fewer queries say nothing about what more grades would bring.
LEAST_QUERIES = 10
#: Half as much evidence again as is needed on average, since what a query is worth varies.
MARGIN = 1.5
WORDS = {"promote": "promoted", "demote": "demoted"}


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

    def pooled(self, place: int) -> float:
        """Share of right ones over all changed labels; NaN where nothing changes."""
        changed = self.changed[:, place].sum()
        return float(1 - self.wrong[:, place].sum() / changed) if changed else float("nan")


def learn(rule: AtPrecision, people: HumanPairs, judged: Manifest, seed: int = 0) -> tuple[AtPrecision, dict]:
    """The rule with its thresholds, and the values of `promise.json`.

    Args:
        people: human pairs of queries that the judge has not seen, with judgements of the judge of `judged` or of the
            raw judge behind it.
        judged: manifest of the judgements that the rule will be applied to.

    Raises:
        InputError: for another judge's judgements, or where the calibration has used every query.
    """
    relevant = relevant_of(people, judged)
    pilot = _pilot(people, judged, seed)
    found, thresholds = {}, {}
    for direction in rule.directions:
        certainty, wrong = (relevant, ~people.relevant) if direction == "promote" else (1 - relevant, people.relevant)
        parts = [Changes.of(certainty[rows], wrong[rows], people.queries[rows]) for rows in (pilot, ~pilot)]
        found[direction] = threshold(*parts, rule)
        thresholds[f"{direction}_from"] = found[direction]["threshold"]
    queries = people.queries.astype(str)
    facts = {
        "target": rule.target,
        "delta": rule.delta,
        "unit": rule.unit,
        "judge_id": judged.about["judge_id"],
        "pairs": len(people.grades),
        "queries_ordering": len(set(queries[pilot])),
        "queries_tested": len(set(queries[~pilot])),
        "directions": found,
        "sentences": [_sentence(direction, entry, rule) for direction, entry in found.items()],
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
        human: these pairs; none of their queries may have been among those that the thresholds were learned on.

    Raises:
        CircularEvidence: for human grades of queries that the judge has seen.
        InputError: for judgements of another judge.
    """
    people, manifest = read_human_pairs(judgements, human), read_manifest(judgements, "judgements")
    found = {}
    for name, folder in labels.items():
        promise = folder.read_json(PROMISE)
        found[name] = promise | {"achieved": achieved(promise, people, manifest)}
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
        certainty, wrong = (relevant, ~people.relevant) if direction == "promote" else (1 - relevant, people.relevant)
        place = int(np.argmin(np.abs(GRID - entry["threshold"])))
        changes = Changes.of(certainty, wrong, people.queries)
        interval = mean_interval(1 - changes.losses(place)).to_json()
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


def _pilot(people: HumanPairs, judged: Manifest, seed: int) -> np.ndarray:
    """The rows whose queries choose the order of tests, bool [rows]."""
    address = judged.about.get("calibration")
    if not address:
        chosen = reserved(people.queries, PILOT, seed)
        return np.array([query in chosen for query in people.queries], bool)
    seen = read_queries_seen(Folder(Folder(address).uri.rpartition("/")[0]))
    used = np.array([query in seen for query in people.queries], bool)
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
    return {"threshold": None, "tests": tests} | _why_not(whole, start, rule, len(tested.changed))


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


def _why_not(whole: Changes, start: int, rule: AtPrecision, tested: int) -> dict:
    """Why nothing is promised: `imprecise` at every threshold, or `few` queries and about how many more it takes.

    The estimate uses all queries at the best threshold: each is worth `growth_rate`, and `MARGIN` · ln(1/δ) is needed;
    at least a quarter of those at hand, since these did not do.
    """
    limit = 1 - rule.target
    best = {"reason": "imprecise", "queries_more": None}
    least = max(1, min(LEAST_QUERIES, len(whole.changed) // 2))
    for place in range(len(GRID)):
        losses = whole.losses(place)
        if len(losses) < least or whole.pooled(place) < rule.target:
            continue
        rate = growth_rate(losses, limit, best_stake(losses, limit)) * len(losses) / len(whole.changed)
        if rate <= 0:
            continue
        wanted = (MARGIN * np.log(1 / rule.delta) / rate - tested) / (1 - PILOT)
        more = int(np.ceil(max(wanted, len(whole.changed) / 4)))
        if best["queries_more"] is None or more < best["queries_more"]:
            best = {"reason": "few", "queries_more": more}
    losses = whole.losses(start)
    return best | {"best_precision": float(1 - losses.mean()) if len(losses) else None}


def _sentence(direction: str, entry: dict, rule: AtPrecision) -> str:
    words, of = WORDS[direction], "a query's" if rule.unit == "query" else "the"
    if entry["threshold"] is not None:
        last = next(test for test in entry["tests"] if test["threshold"] == entry["threshold"])
        return (
            f"At least {rule.target:.0%} of {of} {words} labels are right in expectation, promised with a risk of "
            f"{rule.delta:.0%}: from a probability of {entry['threshold']:g}, where {last['precision']:.1%} were right "
            f"in the {last['queries']} tested queries that it would change ({last['pairs']} pairs)."
        )
    if entry["reason"] == "few":
        return (
            f"Nothing is {words}: the human grades are too few to promise a precision of {rule.target:.0%}; about "
            f"{entry['queries_more']} more queries with grades would be needed."
        )
    reached = "" if entry["best_precision"] is None else f", {entry['best_precision']:.1%} at the most promising"
    return (
        f"Nothing is {words}: at no threshold does the judge reach a precision of {rule.target:.0%} on the human "
        f"grades{reached}; more grades would not help, a better judge would."
    )
