"""The quarantined pairs of a table as a pairs table of their own, to be driven again once the cause is gone.

    relabel judge --quarantined RUN/judgements/JUDGE_ID --out RUN/judged-again …

A quarantine row keeps its pair whole, as JSON; bytes that were no UTF-8 come back as their escapes.
"""

from __future__ import annotations

import json

import pyarrow as pa

from relabel.errors import InputError
from relabel.records import PAIRS
from relabel.storage import Folder
from relabel.tables import Manifest, TableWriter, read_manifest


def quarantined_pairs(table: Folder, out: Folder) -> Manifest:
    """Write the quarantined pairs of a finished judgements table into `out`, in their order.

    Raises:
        InputError: where nothing is in quarantine, or a row holds no pair.
    """
    manifest = read_manifest(table, "judgements")
    quarantine = table / "quarantine"
    parts = quarantine.names("part-", ".parquet")
    if not parts:
        raise InputError(quarantine.uri, "no quarantined rows", "a table some of whose pairs could not be judged")
    source = manifest.about.get("pairs")
    writer = TableWriter(out, "pairs", read_manifest(Folder(source), "pairs").scale if source else None)
    for part in parts:
        values = quarantine.read_table(part)["row"].to_pylist()
        writer.write(pa.Table.from_pylist([_pair(value, f"{quarantine.uri}/{part}") for value in values], PAIRS))
    return writer.finish({"format": "quarantine", "dataset": table.uri})


def _pair(value: str, where: str) -> dict:
    try:
        row = json.loads(value)
        return {name: row[name] for name in PAIRS.names}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(where, f"a quarantined row that is no pair ({error!r})", "a pair as JSON") from None
