"""Datasets of queries, documents and labels, joined into pairs, with a first stage where the recipe has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from relabel.formats import READERS, ReadOptions, Source
from relabel.formats.collection import Collection
from relabel.formats.faults import Faults
from relabel.prepare.config import PrepareConfig
from relabel.prepare.first_stage import FirstStage
from relabel.prepare.pairs_writer import UNLABELLED, PairsWriter
from relabel.progress import watched
from relabel.records import Scale


def join_pairs(
    config: PrepareConfig, source: Source, scale: Scale, faults: Faults, writer: PairsWriter, log: Callable[[str], None]
) -> dict[str, Any]:
    """Write the pairs of a dataset's queries; returns the funnel."""
    records = READERS[config.format].read(source, ReadOptions(config.split, config.query_field), faults)
    with Collection(faults, scale, config.max_text_chars, config.label_source == "human") as collection:
        watched(collection.load(records), "prepare", "records read", log)
        collection.resolve(config.repeated)
        chosen, left_out = _chosen_queries(config, collection, scale)
        if config.first_stage:
            stage = FirstStage(config.first_stage, collection.documents(), scale.relevant_from, config.label_source)
            log(f"prepare: BM25 over {stage.documents:,} documents for {len(chosen):,} queries")
            rows = _candidate_rows(stage, collection, chosen)
        else:
            stage = None
            rows = _labelled_rows(collection, chosen, config, left_out)
        watched(_written(rows, writer), "prepare", "pairs written", log)
        funnel: dict[str, Any] = {
            kind: {"read": collection.seen[kind] - collection.repeated[kind], "kept": collection.count(kind)}
            for kind in ("queries", "documents", "labels")
        }
    funnel["left_out"] = left_out
    if stage:
        funnel["first_stage"] = dict(stage.counts)
    return funnel


def _chosen_queries(config: PrepareConfig, collection: Collection, scale: Scale) -> tuple[set[str], dict[str, int]]:
    """The queries to make pairs of, and how many are left out, by why."""
    stage = config.first_stage
    known_answers = stage is not None and stage.labels == "known-answer"
    able = None
    if known_answers or stage is None or stage.candidates == "judged" or config.only_labelled:
        able = set(collection.labelled_query_ids(scale.relevant_from if known_answers else None))
    ids = [(query_id, text) for query_id, text, _ in collection.queries() if able is None or query_id in able]
    in_folds = [query_id for query_id, text in ids if config.in_folds(text)]
    chosen = config.choose(in_folds)
    why = "queries_without_known_answer" if known_answers else "queries_without_label"
    return chosen, {
        why: collection.count("queries") - len(ids),
        "queries_of_other_folds": len(ids) - len(in_folds),
        "queries_over_max_queries": len(in_folds) - len(chosen),
        "pairs_over_max_pairs_per_query": 0,
    }


def _labelled_rows(
    collection: Collection, chosen: set[str], config: PrepareConfig, left_out: dict[str, int]
) -> Iterator[tuple]:
    """Rows of the labelled pairs; counts in `left_out` those beyond the limit of a query."""
    for query_id, query, frequency in collection.queries():
        if query_id not in chosen:
            continue
        pairs = list(collection.judged(query_id))
        sample = config.sample(query_id, [pair.doc_id for pair in pairs])
        left_out["pairs_over_max_pairs_per_query"] += len(pairs) - len(sample)
        for pair in pairs:
            if pair.doc_id in sample:
                _, title, text = collection.document(pair.document)
                source = UNLABELLED if pair.value is None else pair.source or config.label_source
                yield query_id, pair.doc_id, query, title, text, pair.value, source, frequency, None, None


def _candidate_rows(stage: FirstStage, collection: Collection, chosen: set[str]) -> Iterator[tuple]:
    numbers = np.fromiter(collection.document_numbers(), dtype=np.int64)
    for query_id, query, frequency in collection.queries():
        if query_id not in chosen:
            continue
        judged = {
            int(np.searchsorted(numbers, pair.document)): (pair.value, pair.source)
            for pair in collection.judged(query_id)
        }
        for found in stage.candidates(query, judged):
            doc_id, title, text = collection.document(int(numbers[found.document]))
            yield query_id, doc_id, query, title, text, found.label, found.source, frequency, found.rank, found.score


def _written(rows: Iterator[tuple], writer: PairsWriter) -> Iterator[int]:
    for count, row in enumerate(rows, start=1):
        writer.add(row)
        yield count
