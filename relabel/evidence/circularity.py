"""Refusal of circular evidence: labels made by a judge, queries seen in training; and labels that are not from people.

Queries are recognised by their normalised text (`relabel.lineage`), so other ids do not hide them. Pure but for
reading the `queries_seen.parquet` of trained folders.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from relabel.errors import CircularEvidence
from relabel.lineage import GENERATED, QUERIES_SEEN, query_fingerprint, read_queries_seen, seen_by_judge
from relabel.storage import Folder
from relabel.tables import read_parts


def refuse_judge_labels(pairs: pa.Table, where: str) -> pa.Table:
    """`pairs` as they are, where none of the labels was made by a judge, or by a model that wrote the query.

    Raises:
        CircularEvidence: naming the sources and counting their labels.
    """
    sources = Counter(pairs["label_source"].to_pylist())
    machine = {source: count for source, count in sources.items() if source.startswith("judge:") or source == GENERATED}
    if machine:
        made = "of queries that a model wrote" if set(machine) == {GENERATED} else "made by a judge"
        raise CircularEvidence(
            where,
            f"{sum(machine.values())} labels {made} ({', '.join(sorted(machine))})",
            "labels given by people",
            "evaluate on a pairs table prepared with --label-source human",
        )
    return pairs


def queries_seen_by(about: Mapping[str, Any], queries: list[str], where: str) -> set[str]:
    """Those of the `queries` (texts) that a judge has seen in training or in its prompt; see `lineage.seen_by_judge`.

    Raises:
        CircularEvidence: where it has seen all of them; `where` names the grades of these queries.
    """
    fingerprints = seen_by_judge(about)
    seen = {text for text in queries if query_fingerprint(text) in fingerprints}
    if queries and len(seen) == len(set(queries)):
        raise CircularEvidence(
            where,
            f"only queries that the judge was trained on ({len(seen)})",
            "human grades of other queries",
            "keep some queries of the human grades out of the judge's training",
        )
    return seen


def unchecked_lineage(judge_folder: str | None) -> list[str]:
    """A sentence where a judge's folder does not list its training queries; empty otherwise."""
    if judge_folder and not Folder(judge_folder).exists(QUERIES_SEEN):
        return [
            f"That the judge has not seen these queries could not be checked: {judge_folder} has no {QUERIES_SEEN}."
        ]
    return []


def check_lineage(pairs: pa.Table, where: str, folders: list[str], allow_seen: bool) -> dict:
    """Which models have seen which test queries, by normalised text.

    Args:
        pairs: the test pairs.
        where: their address, for messages.
        folders: addresses of trained folders.
        allow_seen: report an overlap instead of refusing it.

    Raises:
        CircularEvidence: for any overlap, unless it is allowed.
    """
    queries = {query_fingerprint(text): text for text in pairs["query"].unique().to_pylist()}
    checked, lines = [], []
    for uri in folders:
        folder = Folder(uri)
        if not folder.exists(QUERIES_SEEN):
            checked.append({"folder": uri, "queries_seen": None, "overlap": None})
            lines.append(
                f"{posixpath.basename(folder.uri)} carries no list of the queries that it was trained on: that it has "
                f"not seen the test queries could not be checked."
            )
            continue
        seen = read_queries_seen(folder)
        common = [text for fingerprint, text in queries.items() if fingerprint in seen]
        checked.append({"folder": uri, "queries_seen": len(seen), "overlap": len(common)})
        if not common:
            continue
        some = ", ".join(repr(text[:60]) for text in common[:3]) + (", …" if len(common) > 3 else "")
        told = f"{len(common)} of {len(queries)} test queries that {uri} has seen in training ({some})"
        if not allow_seen:
            raise CircularEvidence(
                where, told, "queries that no model has seen", "take them out of training, or out of the test set"
            )
        lines.append(f"Circular evidence, allowed by request: {told}.")
    return {"checked": checked, "test_queries": len(queries), "warnings": lines}


def refuse_shared_queries(pairs: pa.Table, where: str, trained_on: list[Folder]) -> None:
    """Refuse test queries that are also in tables that will be trained on.

    Args:
        pairs: the test pairs.
        where: their address, for messages.
        trained_on: pairs tables.

    Raises:
        CircularEvidence: naming the table and some of the queries.
    """
    queries = {query_fingerprint(text): text for text in pairs["query"].unique().to_pylist()}
    for folder in trained_on:
        for rows in read_parts(folder, "pairs", ["query"]):
            texts = rows["query"].unique().to_pylist()
            common = [text for text in texts if query_fingerprint(text) in queries]
            if common:
                raise CircularEvidence(
                    where,
                    f"test queries that are also in {folder.uri}, which is trained on, such as {common[0][:60]!r}",
                    "queries that no model will see in training",
                    "take them out of one of the two (query_folds, split), or set evaluate.allow_seen_queries",
                )


def label_sources(pairs: pa.Table) -> dict[str, int]:
    """Where the labels come from, with their numbers; rows without a label do not count."""
    return dict(Counter(pairs.filter(pairs["label"].is_valid())["label_source"].to_pylist()))


def source_warnings(pairs: pa.Table) -> list[str]:
    """A warning for each source of test labels that is not known to be people."""
    sources = label_sources(pairs)
    return [
        f"{count:,} of {sum(sources.values()):,} test labels come from {source!r}, which does not mean people: the "
        f"evidence is worth as much as that source."
        for source, count in sorted(sources.items())
        if source != "human"
    ]
