"""Training files for sentence-transformers, as `datasets.load_dataset("json", data_files=…)` reads them.

`pairs.jsonl`: `query`, `passage`, `score` (the relevance degree in [0, 1]) for pointwise losses. `groups.jsonl`:
`query`, `positive`, `negative_1` … `negative_n`, one line a positive, for losses over groups; the columns' order is the
one that those losses expect. A passage is the title and the text on two lines, as `relabel` trains on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from relabel.formats.export_rows import Row, by_query
from relabel.formats.text_file import text_file
from relabel.records import Scale
from relabel.storage import Folder


def write_pairs(rows: Iterable[Row], out: Folder, counts: Counter[str]) -> None:
    """Write `pairs.jsonl`, one labelled pair a line."""
    with text_file(out, "pairs.jsonl") as file:
        for row in rows:
            file.json({"query": row.query, "passage": row.passage, "score": row.degree})
    counts["pairs.jsonl"] = file.lines


def write_groups(rows: Iterable[Row], out: Folder, counts: Counter[str], scale: Scale, negatives: int) -> None:
    """Write `groups.jsonl`: each positive with the query's first `negatives` negatives in the order of the table.

    Queries with fewer negatives, or without a positive, cannot fill a line and are counted.
    """
    with text_file(out, "groups.jsonl") as file:
        for group in by_query(rows):
            positives = [row.passage for row in group if row.grade >= scale.relevant_from]
            others = [row.passage for row in group if row.grade < scale.relevant_from][:negatives]
            if not positives or len(others) < negatives:
                counts["queries_without_enough"] += 1
                continue
            columns = {f"negative_{at}": passage for at, passage in enumerate(others, start=1)}
            for positive in positives:
                file.json({"query": group[0].query, "positive": positive} | columns)
    counts["groups.jsonl"] = file.lines
