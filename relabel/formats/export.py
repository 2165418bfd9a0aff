"""export: a table as files of other tools: TREC qrels and run, BEIR, sentence-transformers, grouped jsonl.

In: a finished pairs, labels or rankings table. Out: the files that the format's module describes. Rows without a label,
or with weight 0, are not exported; they are counted. Labels tables hold degrees in [0, 1]: files of whole grades get
the nearest grade of `scale`.

    relabel export --table runs/demo/labels/replace --format sentence-transformers-groups --out exported
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from relabel.config import Config
from relabel.errors import ConfigError, InputError
from relabel.formats import WRITERS
from relabel.formats.reader import BINARY
from relabel.formats.writer import ExportJob
from relabel.records import ScaleConfig
from relabel.storage import Folder
from relabel.tables import read_manifest

#: Counts that are no lines of a file.
NO_FILES = frozenset({"rows", "unlabelled", "rounded", "unranked", "queries_without_enough"})
_LABELLED = ("rows with a label and a weight above 0", "prepare or adjust it with labels")
#: What a format wants where nothing could be written, and what to do.
NOTHING = {
    "trec-qrels": _LABELLED,
    "trec-run": ("rows with a rank", "prepare with a first stage, or export a rankings table"),
    "beir": _LABELLED,
    "groups": _LABELLED,
    "sentence-transformers-pairs": _LABELLED,
    "sentence-transformers-groups": ("queries with a positive and enough negatives", "set --negatives lower"),
}


class ExportConfig(Config):
    """What to export, and as what.

    Attributes:
        table: a pairs, labels or rankings table.
        format: see `relabel.formats.WRITERS`.
        split: the name of the judgements in a BEIR folder.
        negatives: negatives in each line of sentence-transformers groups.
        scale: the grades of the files; the table's where null, else 0 and 1.
    """

    table: str
    format: Literal[
        "trec-qrels", "trec-run", "beir", "groups", "sentence-transformers-pairs", "sentence-transformers-groups"
    ]
    split: str = Field(default="train", pattern=r"^[A-Za-z0-9._-]+$")
    negatives: int = Field(default=5, ge=1)
    scale: ScaleConfig | None = None


def export(config: ExportConfig, out: Folder, log: Callable[[str], None] = print) -> dict[str, int]:
    """Write a table in another format.

    Args:
        config: see `ExportConfig`.
        out: the folder for the files.
        log: takes a closing line.

    Returns:
        Lines by file, and `rows`, `unlabelled`, `rounded`, `unranked`, `queries_without_enough` where they apply.

    Raises:
        ConfigError: for a table of a kind that the format cannot hold, or another scale for pairs than their own.
        InputError: for an unfinished table, or rows that the format cannot hold.
    """
    folder, writer = Folder(config.table), WRITERS[config.format]
    manifest = read_manifest(folder)
    if manifest.kind not in writer.kinds:
        able = [other.name for other in WRITERS.values() if manifest.kind in other.kinds]
        wanted = f"one of {', '.join(able)} for a table of {manifest.kind}" if able else "pairs, labels or rankings"
        raise ConfigError("format", f"{config.format} for a table of {manifest.kind}", wanted)
    stated = config.scale.scale() if config.scale else None
    if stated and manifest.kind == "pairs" and manifest.scale and stated != manifest.scale:
        own = f"{list(manifest.scale.grades)}, the grades of the pairs"
        raise ConfigError("scale", f"{list(stated.grades)}", own, "leave scale out")
    job = ExportJob(folder, manifest.kind, out, stated or manifest.scale or BINARY, config.split, config.negatives)
    writer.write(job)
    if not any(count for name, count in job.counts.items() if name not in NO_FILES):
        found = ", ".join(f"{count:,} {name}" for name, count in job.counts.items() if count) or "no rows"
        raise InputError(folder.uri, f"nothing to export as {config.format} ({found})", *NOTHING[config.format])
    log(f"export: {', '.join(f'{count:,} {name}' for name, count in job.counts.items() if count)} to {out.uri}")
    return dict(job.counts)
