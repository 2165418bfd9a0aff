"""prepare: join a dataset's queries, documents and labels into the pairs table, checked row by row.

In: a dataset in one of the formats of `relabel.formats`. Out: a pairs table (`relabel.records.PAIRS`) with bad rows in
its quarantine. Rows of a query lie together, in the order of the queries in the input, then by first-stage rank, then
by document id; no key comes twice. Labels are on the dataset's scale, or 0 and 1 where the first stage makes them.
Invariant: rows in = rows + quarantined, and every record read is accounted for.

    relabel prepare --dataset data/beir --format beir --split test --label-source human --out runs/pairs

Pairs stream as Arrow tables (`relabel.prepare.pair_stream`); the other formats are joined in a temporary SQLite file
(`relabel.prepare.joined_pairs`). Neither needs the dataset in memory; a first stage does, for its BM25 index.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from relabel.errors import ConfigError
from relabel.formats import READERS, Source
from relabel.formats.faults import Faults
from relabel.formats.pairs import table_scale
from relabel.prepare.config import PrepareConfig, QueryFolds
from relabel.prepare.first_stage import MADE_LABELS
from relabel.prepare.joined_pairs import join_pairs
from relabel.prepare.pair_stream import stream_pairs
from relabel.prepare.pairs_writer import PairsWriter
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import PART, Manifest

__all__ = ["PrepareConfig", "QueryFolds", "prepare"]


def prepare(config: PrepareConfig, out: Folder, log: Callable[[str], None] = print) -> Manifest:
    """Write the pairs table of a dataset.

    Args:
        config: see `PrepareConfig`.
        out: the table's folder; a table that is there already is replaced.
        log: takes progress lines.

    Returns:
        The manifest. Its `about` holds the configuration, the label source (`mixed` where rows have several), the
        number of queries, labels by value, seconds, and the `funnel`: what was read, kept, left out and quarantined.

    Raises:
        InputError: for the first row that cannot be used (`on_bad: error`), or a file that cannot be read at all.
    """
    started = time.monotonic()
    source = Source(config.dataset)
    if out.uri == source.folder.uri and (source.single is None or PART.search(source.single)):
        raise ConfigError("out", out.uri, "another folder than the dataset's, which would be overwritten")
    scale = _scale(config, source)
    log(f"prepare: {config.format} from {source.uri}; grades {list(scale.grades)}, relevant from {scale.relevant_from}")
    writer = PairsWriter(out, _written_scale(config, scale))
    faults = Faults(writer.quarantine, raises=config.on_bad == "error")
    streamed = config.format == "pairs" and config.first_stage is None
    funnel = (stream_pairs if streamed else join_pairs)(config, source, scale, faults, writer, log)
    faults.flush()
    about = {
        "format": config.format,
        "dataset": source.uri,
        "label_source": writer.label_source(),
        "funnel": funnel | {"quarantined": dict(sorted(faults.by_reason.items()))},
        "seconds": round(time.monotonic() - started, 2),
        "config": config.model_dump(mode="json"),
    }
    manifest = writer.finish(about, faults.total)
    if not manifest.rows:
        log(f"prepare: WARNING: {source.uri} gave no pair at all")
    log(
        f"prepare: {manifest.rows:,} pairs of {writer.queries:,} queries, {manifest.quarantined:,} rows quarantined "
        f"({_listed(about['funnel']['quarantined'])}), labels {_listed(manifest.about['labels'])}, {about['seconds']} s"
    )
    return manifest


def _scale(config: PrepareConfig, source: Source) -> Scale:
    own = table_scale(source) if config.format == "pairs" else None
    return config.scale.scale() if config.scale else own or READERS[config.format].scale


def _written_scale(config: PrepareConfig, scale: Scale) -> Scale:
    """The scale of the labels that are written: binary where a first stage makes them."""
    made = config.first_stage is not None and config.first_stage.labels in MADE_LABELS
    return Scale((0, 1), relevant_from=1) if made else scale


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none bad"
