"""Columns of pairs as they are read: those of PAIRS, nothing required yet, and where each row came from."""

from __future__ import annotations

import pyarrow as pa

from relabel.records import PAIRS

REQUIRED = ("query_id", "doc_id", "query", "text")
#: `file` and `row` (counted from 1) name the row in messages.
ROWS = pa.schema(
    [
        *(field.with_nullable(True) for field in PAIRS if field.name != "label"),
        pa.field("label", pa.float64()),
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
    ]
)
#: Rows of one table on its way through the checks.
BATCH_ROWS = 16_384
