"""A language model in an actor that writes one query for each document of a shard, greedily."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from relabel.engine import Engine
from relabel.generation.config import GenerateConfig
from relabel.generation.prompt import QueryPrompt, Shot
from relabel.hardware import compute_dtype
from relabel.ledger import Shard
from relabel.lineage import GENERATED, query_fingerprint
from relabel.models import load_tokenizer, local_model
from relabel.records import PAIRS
from relabel.scoring import document_text
from relabel.tables import quarantine_table

#: What stands around a query that a model quotes.
QUOTES = "\"'“”‘’`"


class QueryWriter:
    """Made once an actor; a shard of documents in, the same rows with their queries out."""

    def __init__(self, config: GenerateConfig, shots: tuple[Shot, ...]):
        from vllm import SamplingParams

        folder = local_model(config.model)
        tokenizer = load_tokenizer(folder)
        self._prompt = QueryPrompt(shots, tokenizer, config.max_document_tokens)
        self._shown = {query_fingerprint(shot.query) for shot in shots}
        longest = self._prompt.longest + config.max_query_tokens
        self._engine = Engine(folder, config, compute_dtype(config.dtype, config.on_gpu).value, longest)
        self._sampling = SamplingParams(max_tokens=config.max_query_tokens, temperature=0, stop=["\n"])

    def __call__(self, documents: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        texts = [document_text(row["title"], row["text"]) for row in documents.to_pylist()]
        prompts = self._prompt.encode(texts)
        answers = self._engine.answers(prompts, self._sampling)
        written = [None if answer is None else cleaned(answer.text) for answer in answers]
        reasons = [refusal(query, self._shown) for query in written]
        rows = [
            row | {"query": query, "label": 1.0, "label_source": GENERATED}
            for row, query, reason in zip(documents.to_pylist(), written, reasons, strict=True)
            if not reason
        ]
        tokens = sum(map(len, prompts)) + sum(len(answer.token_ids) for answer in answers if answer)
        facts = {"tokens": tokens, "reasons": [reason[0] for reason in reasons if reason]}
        refused = quarantine_table(documents, reasons, shard.source, "generate-queries")
        return pa.Table.from_pylist(rows, schema=PAIRS), refused, facts


def cleaned(text: str) -> str:
    """A written query without the quotes and spaces around it."""
    return " ".join(text.split()).strip(QUOTES).strip()


def refusal(query: str | None, shown: set[str]) -> tuple[str, str] | None:
    """Reason and detail where what was written is no query, else None."""
    if query is None:
        return "engine-refused", "the engine took no prompt with this document"
    if not any(character.isalnum() for character in query):
        return "no-query", f"the model wrote {query!r}"
    if query_fingerprint(query) in shown:
        return "copied-example", f"the model wrote an example's query, {query!r}"
    return None
