"""The pairs on which a judge and people are furthest apart, for reading: as examples of a page and as a TSV file.

The distance is |expected grade − people's grade| on the human scale, since a judge that hesitates is not as far off as
one that is sure. Invariant: the order is total (distance, then key), so the list does not depend on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from relabel.formats.text_file import text_file
from relabel.labels.examples import clipped
from relabel.storage import Folder

DISAGREEMENTS = "disagreements.tsv"
#: Pairs that `agreement.json` and `agree.json` keep for the report.
EXAMPLES = 10
COLUMNS = ("distance", "human", "judge", "expected", "query_id", "doc_id", "query", "title", "text")


def furthest_apart(
    keys: Sequence[tuple[str, str]], human: np.ndarray, grades: np.ndarray, expected: np.ndarray, number: int
) -> list[dict]:
    """The `number` pairs with the largest distance, those without any left out.

    Args:
        keys: (query id, document id) of each pair [pairs].
        human: grades by people [pairs].
        grades: the judge's most probable grade [pairs], on its own scale.
        expected: the judge's expected grade [pairs], on the human scale.

    Returns:
        dictionaries with `row`, `distance`, `human`, `judge`, `expected`, `query_id` and `doc_id`.
    """
    distance = np.round(np.abs(expected - human), 6)
    order = sorted(np.flatnonzero(distance > 0).tolist(), key=lambda row: (-distance[row], keys[row]))
    return [
        {
            "row": row,
            "distance": float(distance[row]),
            "human": float(human[row]),
            "judge": int(grades[row]),
            "expected": round(float(expected[row]), 4),
            "query_id": keys[row][0],
            "doc_id": keys[row][1],
        }
        for row in order[:number]
    ]


def with_texts(entries: Sequence[dict], pairs: pa.Table | None) -> Iterator[dict]:
    """Each entry with `query`, `title` and `text` in place of `row`, which counts rows of `pairs`; empty without it."""
    rows = pa.array([entry["row"] for entry in entries], pa.int64())
    names = ("query", "title", "text")
    texts = pairs.select(names).take(rows).to_pylist() if pairs is not None else [dict.fromkeys(names, "")] * len(rows)
    for entry, text in zip(entries, texts, strict=True):
        yield {name: value for name, value in entry.items() if name != "row"} | text


def examples(entries: Sequence[dict]) -> list[dict]:
    """The first `EXAMPLES` entries with clipped texts, as the report shows them."""
    return [
        entry | {"query": clipped(entry["query"]), "title": clipped(entry["title"]), "text": clipped(entry["text"])}
        for entry in entries[:EXAMPLES]
    ]


def write_disagreements(entries: Sequence[dict], out: Folder) -> None:
    """Write `disagreements.tsv` with a header; blanks inside a text become single spaces, so that a line is a pair."""
    with text_file(out, DISAGREEMENTS) as file:
        file.line("\t".join(COLUMNS))
        for entry in entries:
            file.line("\t".join(_cell(entry[name]) for name in COLUMNS))


def _cell(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, int | float) else " ".join(value.split())
