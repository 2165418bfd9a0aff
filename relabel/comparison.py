"""Systems on one test pool: means with intervals, paired tests corrected for their number, and plain warnings.

Pure functions of scores; `relabel.evaluate` reads tables and models. Every re-ranker is tested against every baseline
(first stage, zero-shot encoder), and every re-ranker on adjusted labels against those on the original labels. Holm's
correction covers all tests of one measure. Invariant: a trained system below a baseline is named in `warnings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from relabel.metrics import CUTOFF, TIE_ORDERS, Gain, Pool, Ranked, measures_of, ndcg_name
from relabel.significance import holm, mean_interval, paired_randomisation, standardised_difference

#: From this share of queries with ties in reach of the top 10 a system is warned about.
TIED_SHARE = 0.1
#: Below this many queries the report says that they are few.
FEW_QUERIES = 30
#: A corrected p-value below this is called significant.
LEVEL = 0.05


@dataclass(frozen=True)
class System:
    """One ranking system.

    Attributes:
        name: how it is called in tables.
        kind: `first stage`, `zero-shot` or `re-ranker`.
        rule: the rule that made a re-ranker's labels, `keep` for the original ones; None where unknown.
        about: further facts for the report, JSON values.
    """

    name: str
    kind: Literal["first stage", "zero-shot", "re-ranker"]
    rule: str | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def is_baseline(self) -> bool:
        return self.kind != "re-ranker"

    @property
    def on_original_labels(self) -> bool:
        return self.rule == "keep"


def compare(
    pool: Pool,
    systems: Sequence[tuple[System, Ranked]],
    gain: Gain,
    resamples: int = 2000,
    permutations: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict:
    """Values, intervals, tests and warnings of `systems` on `pool`, as JSON values.

    Queries without a judged document are left out; queries without a relevant one count 0 for every system.
    """
    names, lowest = list(measures_of(pool, gain)), pool.scale.grades[0]
    judged = ~np.isnan(systems[0][1].values[names[0]])
    values = {system.name: {name: ranked.values[name][judged] for name in names} for system, ranked in systems}
    kinds = {system.name: system for system, _ in systems}
    pairs = pairs_to_test([system for system, _ in systems])
    tests = []
    for measure in (name for name in names if not name.startswith("Judged@")):
        tests += _tests(values, pairs, measure, resamples, permutations, confidence, seed)
    relevant, gain_left = (_per_query(pool, rows)[judged] for rows in (pool.relevant, pool.labels > lowest))
    found = {
        "primary": ndcg_name(gain),
        "measures": _descriptions(pool, gain, names),
        "queries": int(judged.sum()),
        "queries_without_judgement": int((~judged).sum()),
        "queries_without_relevant": int((relevant == 0).sum()),
        "queries_without_gain": int((gain_left == 0).sum()),
        "pairs": int(pool.ranked.sum()),
        "pairs_judged": int((pool.ranked & pool.judged).sum()),
        "pairs_relevant": int((pool.ranked & pool.relevant).sum()),
        "confidence": confidence,
        "resamples": resamples,
        "permutations": permutations,
        "interval": "BCa bootstrap over queries",
        "test": "two-sided paired randomisation test over queries, p corrected by Holm within each measure",
        "systems": [_described(system, ranked) for system, ranked in systems],
        "values": {
            name: {
                measure: mean_interval(column, resamples, confidence, seed).to_json()
                for measure, column in columns.items()
            }
            for name, columns in values.items()
        },
        "tests": tests,
        "per_query": {
            "query_ids": [query_id for query_id, kept in zip(pool.query_ids, judged, strict=True) if kept],
            "values": {
                name: {measure: np.round(column, 6).tolist() for measure, column in columns.items()}
                for name, columns in values.items()
            },
        },
    }
    return found | {"warnings": warnings(found, kinds), "findings": findings(found, kinds)}


def pairs_to_test(systems: Sequence[System]) -> list[tuple[str, str]]:
    """(system, reference) pairs: against each baseline, and adjusted against original labels."""
    first = [system.name for system in systems if system.kind == "first stage"]
    baselines = [system.name for system in systems if system.is_baseline]
    trained = [system for system in systems if not system.is_baseline]
    pairs = [(system.name, name) for system in systems if system.kind == "zero-shot" for name in first]
    pairs += [(system.name, name) for system in trained for name in baselines]
    originals = [system.name for system in trained if system.on_original_labels]
    return pairs + [(system.name, name) for system in trained if not system.on_original_labels for name in originals]


def warnings(found: dict, kinds: dict[str, System]) -> list[str]:
    """What a reader must know before believing a value: ties, constant scores, few queries, regressions."""
    lines = []
    for system in found["systems"]:
        ties = system["ties"]
        if ties["constant"]:
            lines.append(
                f"{system['name']} gives all documents of {ties['constant']} of {ties['queries']} queries the same "
                f"score: it does not rank them. Their values are those of a random order."
            )
        if ties["tied"] > TIED_SHARE * max(ties["queries"], 1) and ties["tied"] > ties["constant"]:
            lines.append(
                f"{system['name']} has equal scores in reach of the top {CUTOFF} in {ties['tied']} of "
                f"{ties['queries']} queries: values there are means over {TIE_ORDERS} random orders of these documents."
            )
    if found["queries"] < FEW_QUERIES:
        lines.append(f"{found['queries']} test queries are few: only large differences can be told from chance.")
    if found["queries_without_relevant"]:
        lines.append(
            f"{found['queries_without_relevant']} of {found['queries']} test queries have no relevant document, "
            f"{found['queries_without_gain']} of them none above the lowest grade: RR, AP and P are 0 there for every "
            f"system, and without a grade above the lowest nDCG is 0 too."
        )
    for test in primary_tests(found):
        trained, reference = not kinds[test["system"]].is_baseline, kinds[test["reference"]]
        if test["difference"]["value"] < 0 and trained and reference.is_baseline:
            lines.append(sentence(test, f"the {reference.name}"))
    return lines


def findings(found: dict, kinds: dict[str, System]) -> list[str]:
    """What relabelling brought: adjusted against original labels, one sentence a test, on the primary measure."""
    between = [test for test in primary_tests(found) if not kinds[test["reference"]].is_baseline]
    if not between:
        return ["No re-ranker on adjusted labels was compared with one on the original labels."]
    return [sentence(test, f"re-ranker {test['reference']} on the original labels") for test in between]


def primary_tests(found: dict) -> list[dict]:
    return [test for test in found["tests"] if test["measure"] == found["primary"]]


def sentence(test: dict, which: str) -> str:
    """One test in words; `which` says what the reference is."""
    difference = test["difference"]
    how = "better" if difference["value"] > 0 else "worse"
    if difference["value"] == 0:
        relation = "equals"
    elif test["significant"]:
        relation = f"is significantly {how} than"
    else:
        relation = f"is {how} than, but not significantly different from,"
    interval = "" if difference["low"] is None else f" [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    change = f"{difference['value']:+.3f}{interval}".replace("-", "−")
    return (
        f"Re-ranker {test['system']} {relation} {which}: {test['measure']} {test['value']:.3f} against "
        f"{test['reference_value']:.3f}, difference {change}, corrected p {probability(test['p_holm'])}."
    )


def probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _per_query(pool: Pool, rows: np.ndarray) -> np.ndarray:
    """How many of the rows [rows] each query has [queries]."""
    return np.bincount(pool.query[rows], minlength=len(pool.query_ids))


def _tests(values, pairs, measure, resamples, permutations, confidence, seed) -> list[dict]:
    rows = []
    for system, reference in pairs:
        differences = values[system][measure] - values[reference][measure]
        effect = standardised_difference(differences)
        rows.append(
            {
                "measure": measure,
                "system": system,
                "reference": reference,
                "value": float(values[system][measure].mean()),
                "reference_value": float(values[reference][measure].mean()),
                "difference": mean_interval(differences, resamples, confidence, seed).to_json(),
                "standardised_difference": None if np.isnan(effect) else effect,
                "better": int(np.sum(differences > 0)),
                "worse": int(np.sum(differences < 0)),
                "equal": int(np.sum(differences == 0)),
                "p": paired_randomisation(differences, permutations, seed),
            }
        )
    corrected = holm([row["p"] for row in rows])
    return [
        row | {"p_holm": float(p), "tests_corrected_for": len(rows), "significant": bool(p < LEVEL)}
        for row, p in zip(rows, corrected, strict=True)
    ]


def _described(system: System, ranked: Ranked) -> dict:
    ties = {"queries": ranked.ties.queries, "tied": ranked.ties.tied, "constant": ranked.ties.constant}
    return {"name": system.name, "kind": system.kind, "rule": system.rule, "ties": ties} | system.about


def _descriptions(pool: Pool, gain: Gain, names: list[str]) -> dict[str, str]:
    lowest = pool.scale.grades[0]
    grade = "grade" if lowest == 0 else f"(grade − {lowest})"
    relevant = f"relevant: grade ≥ {pool.scale.relevant_from}"
    meaning = {
        "nDCG": f"gain of a document: {grade}" if gain == "linear" else f"gain of a document: 2^{grade} − 1",
        "RR": f"1 / rank of the first relevant document down to {CUTOFF}; {relevant}",
        "AP": f"mean precision at the relevant documents; {relevant}",
        "P": f"share of relevant documents in the top {CUTOFF}; {relevant}",
        "Judged": f"share of judged documents in the top {CUTOFF}",
    }
    everything_judged = bool(pool.judged[pool.ranked].all())
    unjudged = "all candidates are judged" if everything_judged else "unjudged documents count as not relevant"
    return {
        name: meaning[name.split("@")[0].split(",")[0]]
        + ("" if name.startswith("Judged") else "; unjudged left out" if "judged only" in name else f"; {unjudged}")
        for name in names
    }
