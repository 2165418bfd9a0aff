"""Written queries become weak pairs: a query's own documents are relevant, those it is near to are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from relabel.errors import InputError
from relabel.generation.config import GenerateConfig
from relabel.generation.selection import selected
from relabel.lineage import GENERATED, query_fingerprint
from relabel.models import local_model
from relabel.prepare.pairs_writer import PairsWriter
from relabel.records import Scale
from relabel.scoring import TextScorer, document_text
from relabel.storage import Folder
from relabel.tables import Manifest, read_parts, read_whole

#: Labels of written queries say relevant or not.
SCALE = Scale((0, 1), relevant_from=1)
#: Texts that the encoder computes at once.
BATCH = 64


def write_pairs(
    config: GenerateConfig,
    written: Folder,
    out: Folder,
    about: dict[str, Any],
    log: Callable[[str], None],
    started: float,
) -> Manifest:
    """Write the weak pairs of `written` to `out`: rows of a query together, its own documents first.

    Equal queries of several documents are one query with several relevant documents. All documents and their vectors
    are in memory (1.5 KiB each besides the text).

    Args:
        written: a pairs table with one row a document and its query.
        about: for the manifest, which gains counts and `seconds` since `started`.

    Raises:
        InputError: where no query was written, or none is kept.
    """
    table = read_whole(written, "pairs", ["doc_id", "query", "title", "text"])
    rows = table.to_pylist()
    read = len(rows)
    barred = {query_fingerprint(query) for address in config.leave_out for query in _queries(Folder(address))}
    rows = [row for row in rows if query_fingerprint(row["query"]) not in barred]
    if not rows:
        raise InputError(
            written.uri,
            f"no written query: {read} in the table, {read} of them in tables to leave out, the others in quarantine",
            "queries for the documents",
            "look into its quarantine, give better examples (human), or take a larger model",
        )
    documents = [document_text(row["title"], row["text"]) for row in rows]
    names = [query_fingerprint(row["query"]) for row in rows]
    limits = {"query": config.max_query_tokens + 8, "document": config.max_document_tokens}
    encoder = TextScorer(local_model(config.encoder), BATCH, "float32", "cpu", limits)
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    found = selected(
        encoder.vectors([row["query"] for row in rows], "query"),
        encoder.vectors(documents, "document"),
        [number[name] for name in names],
        config.least_similarity,
        config.near,
        config.margin,
    )
    if not len(found.kept):
        raise InputError(
            written.uri,
            f"none of {len(rows)} written queries with a cosine of {config.least_similarity} or more to its document",
            "queries that the encoder finds close to their documents",
            "lower least_similarity, give better examples (human), or take a larger model",
        )
    labelled: dict[str, dict[str, tuple[dict, float]]] = {}
    texts: dict[str, str] = {}
    for place in found.kept:
        row, name = rows[place], names[place]
        texts.setdefault(name, row["query"])
        labelled.setdefault(name, {})[row["doc_id"]] = (row, 1.0)
    for document, query in found.near:
        labelled[names[query]].setdefault(rows[document]["doc_id"], (rows[document], 0.0))
    writer = PairsWriter(out, SCALE)
    for name, pairs in labelled.items():
        for doc_id, (row, label) in pairs.items():
            values = (f"written-{name}", doc_id, texts[name], row["title"], row["text"], label, GENERATED)
            writer.add((*values, None, None, None))
    funnel = {
        "written": read,
        "in_leave_out": read - len(rows),
        "too_far": len(rows) - len(found.kept),
        "kept": len(found.kept),
    }
    seconds = round(time.monotonic() - started, 2)
    manifest = writer.finish(about | {"label_source": GENERATED, "funnel": funnel, "seconds": seconds}, 0)
    log(
        f"generate-queries: {funnel['written']:,} written, {funnel['kept']:,} kept; {manifest.rows:,} pairs of "
        f"{writer.queries:,} queries, {len(found.near):,} of them near, {seconds} s"
    )
    return manifest


def _queries(pairs: Folder) -> Iterator[str]:
    for table in read_parts(pairs, "pairs", ["query"]):
        yield from table["query"].unique().to_pylist()
