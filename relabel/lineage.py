"""Which queries a model has seen: fingerprints that travel with every trained folder, against circular evidence.

A query is recognised by its normalised text, not by its id, since ids differ between datasets that share queries.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from relabel.storage import Folder

QUERIES_SEEN = "queries_seen.parquet"
#: Source of labels that come with a query which a language model wrote (`relabel.generation`).
GENERATED = "generated"


def query_fingerprint(text: str) -> str:
    """16 hexadecimal digits of the case-folded, space-normalised query text."""
    normal = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write_queries_seen(folder: Folder, fingerprints: Iterable[str]) -> None:
    """Write the fingerprints of the queries that a model was trained or selected on."""
    folder.write_table(QUERIES_SEEN, pa.table({"fingerprint": pa.array(sorted(set(fingerprints)), pa.string())}))


def trained_folder(model: str) -> Folder | None:
    """The folder that a training wrote around this model folder; None for a model that was not trained here.

    Args:
        model: a package model, or the local or S3 address of `merged/` (judge) or `model/` (re-ranker).
    """
    parent = Folder(model).uri.rpartition("/")[0]
    if not parent or parent.endswith(":/"):
        return None
    return Folder(parent) if Folder(parent).exists("training.json") else None


def queries_behind(model: str) -> set[str]:
    """Fingerprints of the queries that this model was trained on here; empty for any other model."""
    folder = trained_folder(model)
    return read_queries_seen(folder) if folder else set()


def seen_by_judge(about: Mapping[str, Any]) -> set[str]:
    """Fingerprints of the queries that a judge has seen, in training or as examples in its prompt.

    Args:
        about: what the manifest of its judgements, or of labels made of them, says.
    """
    trained = about.get("judge_folder")
    return (read_queries_seen(Folder(trained)) if trained else set()) | set(about.get("example_queries") or ())


def read_queries_seen(folder: Folder) -> set[str]:
    """Fingerprints of the queries a model has seen; empty where the folder has no such file."""
    if not folder.exists(QUERIES_SEEN):
        return set()
    return set(folder.read_table(QUERIES_SEEN).column("fingerprint").to_pylist())
