"""What `prepare` is told: dataset, format, scale, first stage, and which queries to take."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field, model_validator

from relabel.config import Config
from relabel.lineage import query_fingerprint
from relabel.prepare.first_stage import FirstStageConfig
from relabel.records import ScaleConfig


class QueryFolds(Config):
    """A split of the queries by a hash of their normalised text: `keep` lists the folds (0 to count − 1) to take."""

    count: int = Field(ge=2)
    keep: list[int] = Field(min_length=1)

    @model_validator(mode="after")
    def _folds_exist(self) -> QueryFolds:
        if any(not 0 <= fold < self.count for fold in self.keep):
            raise ValueError(f"folds from 0 to {self.count - 1} in 'keep'")
        return self


class PrepareConfig(Config):
    """What to prepare, and how.

    Attributes:
        dataset: a folder or file, local or `s3://…`.
        format: see `relabel.formats.READERS`.
        split: the judgements to take where a dataset has several (BEIR `qrels/<split>.tsv`).
        query_field: the text of a query where it has several (`summary` in LiveQA-Med).
        label_source: who made the labels; `human` for grades by people, which must be whole grades of the scale.
        on_bad: a row that cannot be used is an `error`, or goes to `quarantine`.
        repeated: a pair with two labels is `bad`, or its `highest` label is kept and the others are quarantined.
        scale: the grades; the dataset's or the format's where null.
        first_stage: BM25 candidates instead of the labelled pairs alone.
        only_labelled: leave out queries without a label in the split (with `top-hits`, only those of the split).
        query_folds: keep some folds of the queries.
        max_queries: keep at most that many queries, chosen by `seed`.
        max_pairs_per_query: keep at most that many pairs of a query, chosen by `seed` whatever their labels: a sample
            to measure a judge on. Not with `first_stage`, which chooses the pairs.
        max_text_chars: the longest query, title or text.
    """

    dataset: str
    format: Literal["beir", "trec", "medquad", "liveqa", "pairs", "groups"]
    split: str = "test"
    query_field: str = "text"
    label_source: str = Field(default="given", min_length=1)
    on_bad: Literal["error", "quarantine"] = "error"
    repeated: Literal["bad", "highest"] = "bad"
    scale: ScaleConfig | None = None
    first_stage: FirstStageConfig | None = None
    only_labelled: bool = False
    query_folds: QueryFolds | None = None
    max_queries: int | None = Field(default=None, ge=1)
    max_pairs_per_query: int | None = Field(default=None, ge=1)
    max_text_chars: int = Field(default=2_000_000, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _one_that_limits(self) -> PrepareConfig:
        if self.first_stage and self.max_pairs_per_query:
            raise ValueError("either 'first_stage', which chooses the pairs of a query, or 'max_pairs_per_query'")
        return self

    def in_folds(self, query: str) -> bool:
        """Whether a query's text falls in a fold to keep; equal texts always fall in the same fold."""
        folds = self.query_folds
        return folds is None or int(query_fingerprint(query), 16) % folds.count in folds.keep

    def choose(self, query_ids: list[str]) -> set[str]:
        """At most `max_queries` of the ids; which ones depends on `seed` and on the ids, not on their order."""
        return _by_chance(query_ids, self.max_queries, f"{self.seed}")

    def sample(self, query_id: str, doc_ids: list[str]) -> set[str]:
        """At most `max_pairs_per_query` of a query's documents; which ones depends on `seed` and on the ids."""
        return _by_chance(doc_ids, self.max_pairs_per_query, f"{self.seed}:{query_id}")


def _by_chance(names: list[str], most: int | None, salt: str) -> set[str]:
    """At most that many names: those whose hashes with `salt` are smallest."""
    if most is None or len(names) <= most:
        return set(names)
    return set(sorted(names, key=lambda name: hashlib.sha256(f"{salt}:{name}".encode()).digest())[:most])
