"""Systems on one test pool: means with intervals, paired tests corrected for their number, and plain warnings.

Pure functions of scores; `evaluate` reads tables and models. Every re-ranker is tested against every baseline
(first stage, zero-shot encoder), and every re-ranker on adjusted labels against those on the original labels. Holm's
correction covers all tests of one measure. `findings` puts the outcome into sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from relabel.evidence.findings import findings, warnings
from relabel.evidence.metrics import CUTOFF, Gain, Pool, Ranked, measures_of, ndcg_name
from relabel.evidence.significance import holm, mean_interval, paired_randomisation, standardised_difference

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
    return found | {"warnings": warnings(found), "findings": findings(found)}


def pairs_to_test(systems: Sequence[System]) -> list[tuple[str, str]]:
    """(system, reference) pairs: against each baseline, and adjusted against original labels."""
    first = [system.name for system in systems if system.kind == "first stage"]
    baselines = [system.name for system in systems if system.is_baseline]
    trained = [system for system in systems if not system.is_baseline]
    pairs = [(system.name, name) for system in systems if system.kind == "zero-shot" for name in first]
    pairs += [(system.name, name) for system in trained for name in baselines]
    originals = [system.name for system in trained if system.on_original_labels]
    return pairs + [(system.name, name) for system in trained if not system.on_original_labels for name in originals]


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
