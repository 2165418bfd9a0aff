"""The quarantined pairs of a table as a pairs table of their own, to be driven again once the cause is gone.

    relabel judge --quarantined RUN/judgements/JUDGE_ID --out RUN/judged-again …

A quarantine row keeps its pair whole, as JSON; bytes that were no UTF-8 come back as their escapes.
"""

from __future__ import annotations

import json

import pyarrow as pa

from relabel.errors import ConfigError, InputError
from relabel.records import PAIRS
from relabel.storage import Folder
from relabel.tables import MANIFEST, Manifest, TableWriter, read_manifest


def quarantined_pairs(table: Folder, out: Folder) -> Manifest:
    """Write the quarantined pairs of a finished judgements table into `out`, in their order.

    Where `out` holds them already nothing is written.

    Raises:
        ConfigError: where `out` holds other pairs.
        InputError: where nothing is in quarantine, other rows than the table counts, or a row that holds no pair.
    """
    manifest, about = read_manifest(table, "judgements"), {"format": "quarantine", "dataset": table.uri}
    if out.exists(MANIFEST):
        return _the_same(read_manifest(out, "pairs"), about, manifest.quarantined, out)
    quarantine = table / "quarantine"
    tables = {part: quarantine.read_table(part, ["row"]) for part in quarantine.names("part-", ".parquet")}
    found = sum(rows.num_rows for rows in tables.values())
    if not found:
        raise InputError(quarantine.uri, "no quarantined rows", "a table some of whose pairs could not be judged")
    if found != manifest.quarantined:
        raise InputError(
            quarantine.uri, f"{found} rows", f"the {manifest.quarantined} that {table.uri}/{MANIFEST} counts",
            "run what wrote the table again",
        )  # fmt: skip
    source = manifest.about.get("pairs")
    writer = TableWriter(out, "pairs", read_manifest(Folder(source), "pairs").scale if source else None)
    for part, rows in tables.items():
        where = f"{quarantine.uri}/{part}"
        writer.write(pa.Table.from_pylist([_pair(value, where) for value in rows["row"].to_pylist()], PAIRS))
    return writer.finish(about)


def _the_same(written: Manifest, about: dict[str, str], rows: int, out: Folder) -> Manifest:
    """`written` where it is these quarantined pairs."""
    if written.about.items() >= about.items() and written.rows == rows:
        return written
    raise ConfigError(
        "out",
        f"{out.uri}, which holds {written.rows} pairs of {written.about.get('dataset', 'elsewhere')}",
        f"a folder without pairs, or with the {rows} quarantined pairs of {about['dataset']}",
        "choose another --out",
    )


def _pair(value: str, where: str) -> dict:
    try:
        row = json.loads(value)
        return {name: row[name] for name in PAIRS.names}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(where, f"a quarantined row that is no pair ({error!r})", "a pair as JSON") from None
