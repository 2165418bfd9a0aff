"""Which documents queries are written for, and which graded pairs show the model how."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter

import pyarrow as pa

from relabel.errors import InputError
from relabel.generation.prompt import Shot
from relabel.lineage import query_fingerprint
from relabel.prepare.pairs_writer import UNLABELLED
from relabel.records import PAIRS
from relabel.scoring import document_text
from relabel.storage import Folder
from relabel.tables import read_manifest, read_parts

#: Characters of a document that serves as an example: a whole passage, and short enough to leave room.
SHOT_CHARACTERS = (150, 450)


def chosen_documents(pairs: Folder, most: int, seed: int, leave_out: set[str]) -> pa.Table:
    """At most `most` documents of a pairs table as rows of PAIRS without a query; each different text once.

    A streamed choice by hash: which ones depends on `seed` and the texts, not on their order. A document id that has
    several texts gets their hashes at its end.

    Args:
        leave_out: texts (see `document_text`) that are no candidates.

    Raises:
        InputError: where no document has text.
    """
    kept: dict[str, tuple[str, str, str]] = {}
    heap: list[tuple[int, str]] = []
    for table in read_parts(pairs, "pairs", ["doc_id", "title", "text"]):
        for doc_id, title, text in zip(*(column.to_pylist() for column in table.columns), strict=True):
            whole = document_text(title, text)
            name = _hash(seed, whole)
            if not whole.strip() or whole in leave_out or name in kept:
                continue
            entry = (-int(name, 16), name)
            if len(heap) < most:
                heapq.heappush(heap, entry)
            elif entry > heap[0]:
                del kept[heapq.heapreplace(heap, entry)[1]]
            else:
                continue
            kept[name] = (doc_id, title, text)
    if not kept:
        raise InputError(pairs.uri, "no document with text", "documents to write queries for")
    ids = Counter(doc_id for doc_id, _, _ in kept.values())
    rows = [
        dict.fromkeys(PAIRS.names)
        | {
            "query_id": name,
            "doc_id": doc_id if ids[doc_id] == 1 else f"{doc_id}#{name}",
            "query": "",
            "title": title,
            "text": text,
            "label_source": UNLABELLED,
        }
        for name, (doc_id, title, text) in sorted(kept.items())
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def shots_of(human: Folder, count: int, seed: int) -> tuple[Shot, ...]:
    """Pairs of the highest grade, of as many different queries, as examples; short documents first.

    Raises:
        InputError: for a table without a scale, or without a relevant pair.
    """
    manifest = read_manifest(human, "pairs")
    if manifest.scale is None:
        raise InputError(human.uri, "a pairs table without a scale", "human grades", "prepare it again")
    best: dict[str, tuple] = {}
    low, high = SHOT_CHARACTERS
    for table in read_parts(human, "pairs", ["query", "title", "text", "label"]):
        for row in table.to_pylist():
            if row["label"] is None or row["label"] < manifest.scale.relevant_from:
                continue
            document = document_text(row["title"], row["text"])
            order = (not low <= len(document) <= high, -row["label"], _hash(seed, row["query"], document))
            query = query_fingerprint(row["query"])
            if query not in best or order < best[query][0]:
                best[query] = (order, Shot(document, row["query"]))
    if not best:
        raise InputError(
            human.uri, "no relevant pair", "human grades with relevant pairs", "add some, or give no --human"
        )
    return tuple(shot for _, shot in sorted(best.values(), key=lambda one: one[0])[:count])


def _hash(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()
