"""Each (query_id, doc_id) once: in the input when it is planned, and in each shard when it was worked on.

Where the rows of a query lie together, as `relabel prepare` writes them, a pass over the keys needs 8 bytes of memory a
query; otherwise 8 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.errors import LedgerError
from relabel.records import KEY
from relabel.storage import Folder


def duplicate_key(folder: Folder, parts: Iterable[str]) -> tuple[str, str] | None:
    """A (query_id, doc_id) that is in two rows of the parts, if any."""
    parts = list(parts)
    together, found = _duplicate_within_queries(folder, parts)
    return found if together else _duplicate_anywhere(folder, parts)


def check_keys(pairs: pa.Table, rows: pa.Table, quarantined: pa.Table, where: str) -> None:
    """Raises LedgerError where a shard's rows and quarantined rows do not have the keys of its pairs, each once."""
    if not quarantined.num_rows and all(rows[name].equals(pairs[name]) for name in KEY):
        return
    if not _sorted_keys(rows, quarantined).equals(_sorted_keys(pairs)):
        raise LedgerError(
            where,
            f"{rows.num_rows} rows + {quarantined.num_rows} quarantined whose keys are not those of the "
            f"{pairs.num_rows} pairs that came in",
            "each key that came in once",
        )


def _sorted_keys(*tables: pa.Table) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in KEY])
    keys = pa.concat_tables([table.select(KEY).cast(schema) for table in tables])
    return keys.sort_by([(name, "ascending") for name in KEY]).combine_chunks()


def _duplicate_within_queries(folder: Folder, parts: list[str]) -> tuple[bool, tuple[str, str] | None]:
    """Whether each query's rows lie together, and then a key in two rows, if any."""
    heads, last, documents = [np.zeros(0, np.uint64)], None, pa.array([], pa.string())
    for part in parts:
        keys = folder.read_table(part, list(KEY)).combine_chunks()
        if not keys.num_rows:
            continue
        queries, docs = (keys[name].combine_chunks() for name in KEY)
        starts = _starts(queries)
        if queries[0].as_py() == last:  # the query goes on from the part before
            docs = pa.concat_arrays([documents, docs])
            starts = np.concatenate([[0], starts[1:] + len(documents)])
            first = queries.take(pa.array(starts[1:] - len(documents)))
        else:
            first = queries.take(pa.array(starts))
        heads.append(_hashes(first))
        twice = _twice(docs, starts)
        if twice is not None:
            place = int(np.searchsorted(starts, twice, "right")) - 1
            offset = len(docs) - keys.num_rows
            return True, (queries[max(0, int(starts[place]) - offset)].as_py(), docs[twice].as_py())
        last, documents = queries[-1].as_py(), docs.slice(int(starts[-1]))
    every = np.sort(np.concatenate(heads))
    return not (every[1:] == every[:-1]).any(), None


def _starts(values: pa.Array) -> np.ndarray:
    """Where runs of equal values begin, int64 [runs]."""
    changed = pc.not_equal(values.slice(1), values.slice(0, len(values) - 1))
    return np.concatenate([[0], 1 + np.flatnonzero(changed.to_numpy(zero_copy_only=False))])


def _twice(documents: pa.Array, starts: np.ndarray) -> int | None:
    """The place of a document that is in its query's run a second time, if any."""
    codes = documents.dictionary_encode().indices.to_numpy().astype(np.int64)
    run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(documents))))
    composite = run << 32 | codes
    order = np.argsort(composite, kind="stable")
    again = np.flatnonzero(composite[order][1:] == composite[order][:-1])
    return int(order[again[0] + 1]) if again.size else None


def _duplicate_anywhere(folder: Folder, parts: list[str]) -> tuple[str, str] | None:
    hashes = [np.zeros(0, np.uint64)]
    for part in parts:
        hashes.append(_key_hashes(folder.read_table(part, list(KEY))))
    every = np.sort(np.concatenate(hashes))
    suspects = np.unique(every[1:][every[1:] == every[:-1]])
    if not suspects.size:
        return None
    seen: set[tuple[str, str]] = set()
    for part in parts:
        keys = folder.read_table(part, list(KEY))
        for row in np.flatnonzero(np.isin(_key_hashes(keys), suspects)).tolist():
            key = (keys["query_id"][row].as_py(), keys["doc_id"][row].as_py())
            if key in seen:
                return key
            seen.add(key)
    return None


def _key_hashes(keys: pa.Table) -> np.ndarray:
    return _hashes(pc.binary_join_element_wise(keys["query_id"], keys["doc_id"], "\x1f"))


def _hashes(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    from pandas.util import hash_array

    return hash_array(values.to_numpy(zero_copy_only=False), categorize=False)
