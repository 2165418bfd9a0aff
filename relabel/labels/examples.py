"""Examples of the surest changes: the rows where the judge was most certain of the side that the label moved to.

Invariant: the order is total (crossing the relevance boundary first, then the probability, then the key), so the
examples of a table do not depend on how it was cut into shards.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.labels.degrees import LabelColumns

EXAMPLES = 10
#: Characters of a document's text, and of a query, that an example shows.
CLIP = 400
SHOWN = (
    "query_id", "doc_id", "query", "title", "original_label", "original_source", "judge_grade", "judge_probabilities",
    "weight", "rule", "action",
)  # fmt: skip


def surest_changes(labels: pa.Table, columns: LabelColumns) -> dict[str, tuple[dict, ...]]:
    """Up to `EXAMPLES` of the rows `raised`, `lowered` and `dropped`; each has `sureness`, the judge's probability of
    the side that the row moved to, and `crossed`, whether it became or ceased to be relevant."""
    changed, dropped = columns.changed, columns.dropped
    up = columns.became | (changed & ~dropped & (columns.after > columns.before))
    down = ~dropped & changed & (columns.after < columns.before)
    against = np.where(columns.was_relevant, 1 - columns.relevant, columns.relevant)
    return {
        "raised": _surest(labels, columns, up, columns.became, columns.relevant),
        "lowered": _surest(labels, columns, down, columns.ceased, 1 - columns.relevant),
        "dropped": _surest(labels, columns, dropped & changed, np.zeros_like(dropped), against),
    }


def merged(first: tuple[dict, ...], second: tuple[dict, ...]) -> tuple[dict, ...]:
    """The surest of both."""

    def order(entry: dict) -> tuple:
        return (not entry["crossed"], -entry["sureness"], entry["query_id"], entry["doc_id"])

    return tuple(sorted(first + second, key=order)[:EXAMPLES])


def _surest(
    labels: pa.Table, columns: LabelColumns, among: np.ndarray, crossed: np.ndarray, sureness: np.ndarray
) -> tuple[dict, ...]:
    candidates = np.flatnonzero(among & ~np.isnan(sureness))
    rows = pa.array(candidates)
    keys = pa.table(
        {
            "rank": crossed[candidates] + np.round(sureness[candidates], 6),
            "query_id": labels["query_id"].take(rows),
            "doc_id": labels["doc_id"].take(rows),
        }
    )
    order = [("rank", "descending"), ("query_id", "ascending"), ("doc_id", "ascending")]
    best = candidates[pc.select_k_unstable(keys, EXAMPLES, order).to_numpy()]
    chosen = labels.take(pa.array(best))
    return tuple(
        values
        | {
            "query": clipped(values["query"]),
            "text": clipped(text),
            "judge_probabilities": [round(p, 6) for p in values["judge_probabilities"]],
            "degree_before": _rounded(columns.before[row]),
            "degree_after": _rounded(columns.after[row]),
            "sureness": round(float(sureness[row]), 6),
            "crossed": bool(crossed[row]),
        }
        for row, text, values in zip(best, chosen["text"].to_pylist(), chosen.select(SHOWN).to_pylist(), strict=True)
    )


def clipped(text: str) -> str:
    """At most `CLIP` characters of a text."""
    return text if len(text) <= CLIP else text[: CLIP - 1] + "…"


def _rounded(degree: float) -> float | None:
    return None if np.isnan(degree) else round(float(degree), 6)
