"""Judges side by side on the same pairs, where `relabel agree --out RUN/evidence` left its `agree.json`."""

from __future__ import annotations

from relabel.agreement.agree_tables import all_tables
from relabel.report.blocks import Block, Bullets, Heading, Table, Text
from relabel.report.disagreements import folded
from relabel.words import count, plural


def blocks(found: dict | None) -> list[Block]:
    """The tables of `agree.json`, what they leave out, and the worst disagreements; nothing without the file."""
    if not found:
        return []
    left = found["left_out"]
    missing = left["human_pairs"] - found["pairs"]
    words = f"{count(found['pairs'])} pairs of {plural(found['queries'], 'query', 'queries')} that people and all "
    words += f"judges graded; {count(missing)} of {count(left['human_pairs'])} human pairs are left out."
    shown: list[Block] = [Heading("Judges side by side"), Text(words)]
    shown += [Table(table.caption, table.header, table.rows, words=True) for table in all_tables(found)]
    notes = [*found["systems"]["notes"], *found["warnings"]]
    if notes:
        shown.append(Bullets(notes))
    return [*shown, *folded(found["disagreements"], found["reference"])]
