"""What `generate-queries` is told: whose documents, which model, what the encoder must say."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from relabel.engine import EngineConfig

#: Fields that change no query, but what becomes of those that were written.
AFTERWARDS = frozenset({"encoder", "least_similarity", "near", "margin", "leave_out"})


class GenerateConfig(EngineConfig):
    """Configuration of `relabel generate-queries`.

    Attributes:
        pairs: a pairs table; queries are written for its documents. Its own queries and labels are not used.
        human: a pairs table with human grades: some of its best pairs are shown to the model as examples; null:
            examples that come with the project.
        leave_out: pairs tables, such as the test's: a written query that stands in one of them is not kept.
        examples: how many are shown.
        model: the causal LM that writes: package model, local folder or S3 folder.
        documents: documents to write for, at most; which ones depends on `seed`.
        max_document_tokens: budget of title and text.
        max_query_tokens: the longest query that is written.
        encoder: the bi-encoder that checks queries and finds near documents.
        least_similarity: a query is kept where its cosine with its own document is that or more.
        near: documents of other queries that a query gets as negatives, about: each document gets that many near
            queries, which are closest to its own.
        margin: a near query's cosine with the document is at least so much below that of the document's own query; the
            smaller, the harder the negatives, and the more of them are right answers.
        seed: of every choice.
    """

    writes: ClassVar[bool] = True

    pairs: str
    human: str | None = None
    leave_out: list[str] = Field(default_factory=list)
    examples: int = Field(5, ge=1, le=16)
    model: str = "smollm2-135m-instruct"
    documents: int = Field(1_600, ge=2)
    max_document_tokens: int = Field(80, ge=8, le=100_000)
    max_query_tokens: int = Field(16, ge=4, le=1_000)
    encoder: str = "all-minilm-l6-v2"
    least_similarity: float = Field(0.55, ge=-1, le=1)
    near: int = Field(3, ge=0)
    margin: float = Field(0.15, ge=0, le=2)
    seed: int = Field(0, ge=0)
