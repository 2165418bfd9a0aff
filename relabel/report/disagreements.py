"""The pairs on which judge and people are furthest apart, with their texts, behind a line that opens them."""

from __future__ import annotations

from collections.abc import Sequence

from relabel.report.blocks import Block, Example, Folded
from relabel.words import value

#: Characters of a document that are shown.
CLIP = 320


def folded(entries: Sequence[dict], judge: str) -> list[Block]:
    """One fold with the entries of `furthest_apart`; nothing where there are none."""
    if not entries:
        return []
    shown = [_example(entry, judge) for entry in entries]
    return [Folded(f"Where {judge} and the reference grades are furthest apart: the first {len(shown)}", shown)]


def _example(entry: dict, judge: str) -> Example:
    text = entry["text"] if len(entry["text"]) <= CLIP else entry["text"][: CLIP - 1] + "…"
    return Example(
        head=f"reference grade {entry['human']:g}, {judge} {entry['judge']}",
        query=entry["query"],
        title=entry["title"],
        text=text,
        facts=[
            f"{value(entry['distance'], 2)} apart, expected grade {value(entry['expected'], 2)} on the reference scale",
            f"query {entry['query_id']}, document {entry['doc_id']}",
        ],
    )
