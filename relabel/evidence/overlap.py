"""Documents that a test table shares with what models were trained on: counted by normalised text, never refused.

The same documents under other queries are normal where both come from one collection, and still worth knowing. Only
training tables of a bounded size are read; larger ones are reported as not looked at.
"""

from __future__ import annotations

import pyarrow as pa

from relabel.lineage import query_fingerprint
from relabel.storage import Folder
from relabel.tables import MANIFEST, read_manifest, read_parts

#: Training tables with more rows are not read.
MOST_ROWS = 300_000


def document_overlap(test: pa.Table, trained_on: list[str]) -> list[dict]:
    """For each training pairs table: how many different test documents (by text) also occur there.

    Args:
        test: the test pairs table.
        trained_on: addresses of pairs tables.

    Returns:
        `pairs`, `test_documents`, `shared`; `shared` is None where the table is gone or too large to read.
    """
    wanted = {query_fingerprint(text) for text in test["text"].unique().to_pylist()}
    return [{"pairs": uri, "test_documents": len(wanted), "shared": _shared(wanted, Folder(uri))} for uri in trained_on]


def overlap_notes(documents: list[dict]) -> list[str]:
    """One sentence for each training table that shares documents with the test table."""
    return [
        f"{entry['shared']:,} of {entry['test_documents']:,} test documents were also in training, with other queries."
        for entry in documents
        if entry["shared"]
    ]


def _shared(wanted: set[str], pairs: Folder) -> int | None:
    if not pairs.exists(MANIFEST) or read_manifest(pairs, "pairs").rows > MOST_ROWS:
        return None
    found: set[str] = set()
    for rows in read_parts(pairs, "pairs", ["text"]):
        found |= wanted & {query_fingerprint(text) for text in rows["text"].unique().to_pylist()}
    return len(found)
