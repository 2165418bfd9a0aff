"""Generate queries: documents in, queries that a language model wrote for them out, with near documents as negatives.

relabel generate-queries --pairs RUN/pairs --human RUN/human --documents 1600 --out RUN/weak

    OUT/documents   the documents that queries are written for
    OUT/written     a query for each, by a pool of vLLM actors, in shards; resumes where it stopped
    OUT             a pairs table: each kept query with its own document (1) and those it is near to (0)
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from relabel.differences import first_difference
from relabel.engine import ENGINE_SPEED, environment, settings_with_reasons
from relabel.errors import ConfigError, InputError
from relabel.generation.config import AFTERWARDS, GenerateConfig
from relabel.generation.documents import chosen_documents, shots_of
from relabel.generation.pairs import write_pairs
from relabel.generation.prompt import SHOTS, QueryPrompt, Shot, shots_id
from relabel.generation.writer import QueryWriter
from relabel.hardware import compute_dtype
from relabel.ledger import Marker
from relabel.lineage import GENERATED, query_fingerprint
from relabel.models import check_context, load_tokenizer, local_model, model_fingerprint
from relabel.scoring import architecture
from relabel.storage import Folder
from relabel.tables import MANIFEST, Manifest, TableWriter, read_manifest

#: Documents a shard: half a minute of work or so on a CPU of two cores, less on a GPU.
SHARD_ROWS = {"cpu": 128, "gpu": 4_096}


def generate_queries(config: GenerateConfig, out: Folder, log: Callable[[str], None] = print) -> Manifest:
    """Write queries for documents of `config.pairs` and make weak pairs of them in `out`.

    The same call on a finished folder returns at once, on a killed one it goes on.

    Raises:
        ConfigError: for a folder that holds what another configuration wrote.
        InputError: for a model or table that cannot be used, and where no query is kept.
        LedgerError: where rows were lost or doubled.
    """
    from jobs.cluster import connect, with_gpus
    from jobs.shards import Stage, run_stage

    started = time.monotonic()
    facts = _facts(config)
    _same(out, facts, config.model_dump(mode="json", exclude_defaults=True))
    if out.exists(MANIFEST):
        log(f"generate-queries: done already in {out.uri}")
        return read_manifest(out, "pairs")
    connect(log)
    config = with_gpus(config, config.tensor_parallel_size)
    shots = shots_of(Folder(config.human), config.examples, config.seed) if config.human else SHOTS[: config.examples]
    dtype = compute_dtype(config.dtype, config.on_gpu)
    if architecture(local_model(config.encoder)) != "bi-encoder":
        raise InputError(f"encoder {config.encoder}", "a cross-encoder", "a bi-encoder")
    task = _task_id(config, shots, dtype.value)
    log(f"generate-queries: {config.model}, {len(shots)} examples, dtype {dtype.value} ({dtype.reason})")
    log(f"generate-queries: vLLM with {settings_with_reasons(config)}")
    documents, written = out / "documents", out / "written"
    if not documents.exists(MANIFEST):
        writer = TableWriter(documents, "pairs")
        writer.write(
            chosen_documents(Folder(config.pairs), config.documents, config.seed, {shot.document for shot in shots})
        )
        writer.finish({"pairs": config.pairs, "config": facts})
    stage = Stage(
        name="generate-queries",
        kind="pairs",
        task_id=task,
        worker=QueryWriter,
        arguments={"config": config.model_copy(update={"dtype": dtype.value}), "shots": shots},
        shard_rows=config.shard_rows or SHARD_ROWS["gpu" if config.on_gpu else "cpu"],
        scale=None,
        about={"label_source": GENERATED, "task_id": task, "config": facts},
        summary=_summary,
        actors=config.actors,
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
        environment=environment(config) | {"VLLM_LOGGING_LEVEL": "WARNING"},
        unit="documents",
    )
    made = run_stage(stage, documents, written, log)
    about = {
        "model": config.model,
        "task_id": task,
        "example_queries": sorted(query_fingerprint(shot.query) for shot in shots),
        "tokens": made.about["tokens"],
        "busy_seconds": made.about["busy_seconds"],
        "refused": made.about["refused"],
        "config": facts,
    }
    return write_pairs(config, written, out, about, log, started)


def _facts(config: GenerateConfig) -> dict[str, Any]:
    """What decides the pairs, with whole addresses."""
    facts = config.model_dump(mode="json", exclude=ENGINE_SPEED)
    facts["leave_out"] = [Folder(address).uri for address in config.leave_out]
    return facts | {name: facts[name] and Folder(facts[name]).uri for name in ("pairs", "human")}


def _same(out: Folder, facts: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Raises ConfigError where `out` holds what another configuration began; what comes after writing may change, and
    `chosen` are the keys that are not at their defaults."""
    for folder, free in ((out, frozenset()), (out / "documents", AFTERWARDS)):
        if not folder.exists(MANIFEST):
            continue
        begun = read_manifest(folder, "pairs").about.get("config") or {}
        difference = first_difference(begun, facts, free, chosen=chosen)
        if difference:
            raise ConfigError(
                f"{folder.uri}: {difference.key}",
                f"{difference.before!r}, and now {difference.now!r}",
                "the configuration that this folder began with",
                "choose another --out",
            )


def _task_id(config: GenerateConfig, shots: tuple[Shot, ...], dtype: str) -> str:
    """`generate-<16 hex>` over what decides the queries; fails early where model and prompt do not fit."""
    folder = local_model(config.model)
    tokenizer = load_tokenizer(folder)
    check_context(folder, QueryPrompt(shots, tokenizer, config.max_document_tokens).longest + config.max_query_tokens)
    facts = [model_fingerprint(folder), dtype, shots_id(shots), config.max_document_tokens, config.max_query_tokens]
    return f"generate-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"


def _summary(markers: list[Marker]) -> dict[str, Any]:
    return {
        "shards": len(markers),
        "tokens": sum(marker.facts["tokens"] for marker in markers),
        "busy_seconds": sum(marker.busy_seconds for marker in markers),
        "refused": dict(Counter(reason for marker in markers for reason in marker.facts["reasons"])),
    }


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["generate-queries", *sys.argv[1:]]))
