"""Shards, markers, resume and the final reconciliation: what makes a stage survive anything and lose nothing.

A stage over a pairs table is planned once: `plan.json` fixes the shards as row ranges of the input parts. A shard's
rows are committed as `part-NNNNN.parquet` (and `quarantine/part-NNNNN.parquet`), then its marker `markers/NNNNN.json`
is written. A shard with a valid marker is never done again. At the end rows in = rows out + quarantined is checked
over all shards, and only then is the table's manifest written. No key is in two rows: none is in the input, which is
checked when it is planned, and each shard's keys are those of its input, which is checked before it is committed.
"""

from relabel.ledger.keys import check_keys, duplicate_key
from relabel.ledger.markers import (
    Marker,
    MarkerIndex,
    commit,
    finished_shards,
    marker_name,
    part_name,
    quarantine_name,
    reconcile,
)
from relabel.ledger.plan import (
    PLAN,
    Plan,
    Segment,
    Shard,
    changed_input,
    content_fingerprint,
    cut_shards,
    fingerprints,
    part_rows,
    plan_stage,
    read_plan,
    read_shard,
)

__all__ = [
    "PLAN",
    "Marker",
    "MarkerIndex",
    "Plan",
    "Segment",
    "Shard",
    "changed_input",
    "check_keys",
    "commit",
    "content_fingerprint",
    "cut_shards",
    "duplicate_key",
    "fingerprints",
    "finished_shards",
    "marker_name",
    "part_name",
    "part_rows",
    "plan_stage",
    "quarantine_name",
    "read_plan",
    "read_shard",
    "reconcile",
]
