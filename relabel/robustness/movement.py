"""How far a judge's grades move when pairs are perturbed: over all, irrelevant and relevant pairs, with intervals.

In: the table of `variants` and its judgements; out: JSON values (`robustness.json`). Pure. A movement is expected grade
of the variant − expected grade of the original, in grades of the judge's scale. The relevance line is crossed where
the most probable grade was below `relevant_from` and is not any more, or the other way round. Irrelevant and relevant
are the original labels. Invariant: a pair counts for a perturbation only where both of its judgements are there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from relabel.agreement.rater_statistics import row_mean
from relabel.errors import InputError
from relabel.evidence.significance import bootstrap
from relabel.records import Scale
from relabel.robustness import Expectation, perturbation_named
from relabel.robustness.variants import ORIGINAL, document_of
from relabel.robustness.verdict import plain_verdict

#: Mean movements below this, in grades, may come from arithmetic alone.
ROUNDING = 0.01


def measure(
    pairs: pa.Table,
    judgements: pa.Table,
    label_scale: Scale,
    judge_scale: Scale,
    perturbations: Sequence[str],
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict:
    """Movements of a judge's grades under perturbations, with BCa intervals from a bootstrap over queries.

    Args:
        pairs: what `variants` made: `query_id`, `doc_id`, and the originals' `label` on `label_scale`.
        judgements: of these pairs; pairs without one are left out and counted (`unjudged`).
        perturbations: which to measure, in the order of the result.

    Returns:
        JSON values. `separation` is the mean expected grade of relevant − irrelevant originals, which movements are to
        be compared with. Each of `perturbations` has, for `all`, `irrelevant` and `relevant` pairs: `movement`,
        `absolute_movement`, and shares of the pairs: `other_grade`, `crossed_up`, `crossed_down`; an attack also
        `raised` (a higher grade, of those that were below the highest) and `success` (now called relevant, of those
        that were not). `broken`: the mean movement is clearly, by its interval, not what is expected.

    Raises:
        InputError: where no original was judged.
        ConfigError: for an unknown perturbation.
    """
    measured = _Judged(pairs, judgements, label_scale, judge_scale, resamples, confidence, seed)
    found = {
        "pairs": len(measured.relevant),
        "queries": len(np.unique(measured.query)),
        "relevant_pairs": int(measured.relevant.sum()),
        "confidence": confidence,
        "resamples": resamples,
        "interval": "BCa bootstrap over queries",
        "label_scale": label_scale.to_json(),
        "judge_scale": judge_scale.to_json(),
        "separation": measured.separation(),
        "perturbations": [measured.perturbation(name) for name in perturbations],
    }
    return found | {"verdict": plain_verdict(found)}


class _Judged:
    """The originals as arrays [originals], and for each perturbation the judgements of its variants."""

    def __init__(self, pairs, judgements, label_scale, judge_scale, resamples, confidence, seed):
        self.scale, self.options = judge_scale, (resamples, confidence, seed)
        judged = {key: row for row, key in enumerate(zip(*_columns(judgements, ("query_id", "doc_id")), strict=True))}
        self.score, self.grade = judgements["score"].to_numpy().astype(float), judgements["grade"].to_numpy()
        self.truncated = judgements["truncated"].to_numpy(zero_copy_only=False)
        labels, originals, self.variants = [], {}, {}
        for query_id, doc_id, label in zip(*_columns(pairs, ("query_id", "doc_id", "label")), strict=True):
            document, variant = document_of(doc_id)
            row = judged.get((query_id, doc_id))
            if variant != ORIGINAL:
                self.variants.setdefault(variant, {})[query_id, document] = row
            elif row is not None:
                originals[query_id, document] = row
                labels.append(label)
        if not originals:
            raise InputError("robustness", "no judgement of an original pair", "judgements of the pairs that were made")
        self.place = {key: place for place, key in enumerate(originals)}
        self.rows = np.array(list(originals.values()))
        self.query = np.unique([query_id for query_id, _ in originals], return_inverse=True)[1]
        self.relevant = np.array(labels, float) >= label_scale.relevant_from

    def separation(self) -> dict:
        score = self.score[self.rows]
        high, low = (
            row_mean(score[chosen], self.query[chosen], self.query.max() + 1)
            for chosen in (self.relevant, ~self.relevant)
        )
        return self._interval(lambda weights: high(weights) - low(weights), self.query.max() + 1)

    def perturbation(self, name: str) -> dict:
        perturbation, rows = perturbation_named(name), self.variants.get(name, {})
        both = {key: row for key, row in rows.items() if row is not None and key in self.place}
        before = np.array([self.place[key] for key in both], np.int64)
        after = np.array(list(both.values()), np.int64)
        parts = {"all": np.ones(len(before), bool), "irrelevant": ~self.relevant[before]}
        parts["relevant"] = self.relevant[before]
        groups = {
            part: self._group(before[chosen], after[chosen], perturbation.attack) for part, chosen in parts.items()
        }
        return {
            "name": name,
            "expectation": str(perturbation.expectation),
            "attack": perturbation.attack,
            "unjudged": len(rows) - len(both),
            "truncated": float(self.truncated[after].mean()) if len(after) else None,
            "broken": _broken(groups["all"]["movement"], perturbation.expectation),
        } | groups

    def _group(self, before: np.ndarray, after: np.ndarray, attack: bool) -> dict:
        """Statistics of pairs: `before` counts originals, `after` judgements of their variants."""
        queries, query = np.unique(self.query[before], return_inverse=True)
        movement = self.score[after] - self.score[self.rows[before]]
        was, now = self.grade[self.rows[before]], self.grade[after]
        called_before, called = was >= self.scale.relevant_from, now >= self.scale.relevant_from

        def mean(values: np.ndarray, of: np.ndarray | None = None) -> dict:
            of = np.ones(len(values), bool) if of is None else of
            return self._interval(row_mean(values[of], query[of], len(queries)), len(queries))

        found = {
            "pairs": len(before),
            "queries": len(queries),
            "movement": mean(movement),
            "absolute_movement": mean(np.abs(movement)),
            "other_grade": mean(was != now),
            "crossed_up": mean(~called_before & called),
            "crossed_down": mean(called_before & ~called),
        }
        if not attack:
            return found
        return found | {"raised": mean(now > was, was < self.scale.grades[-1]), "success": mean(called, ~called_before)}

    def _interval(self, statistic, queries: int) -> dict:
        resamples, confidence, seed = self.options
        return bootstrap(statistic, queries, resamples, confidence, seed).to_json()


def _broken(movement: dict, expectation: Expectation) -> bool:
    """Whether the interval of a movement lies on the side where it must not be; False where there is no interval."""
    if movement["low"] is None:
        return False
    return movement["low"] > ROUNDING or (expectation is Expectation.UNCHANGED and movement["high"] < -ROUNDING)


def _columns(table: pa.Table, names: Sequence[str]) -> list[list]:
    return [table[name].to_pylist() for name in names]
