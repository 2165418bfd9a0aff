"""What `train-judge` is told: model, prompt, losses, which pairs an epoch shows and how many queries a document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relabel.prompts import PROMPTS
from relabel.robustness.augmentation import Augmentation
from train.config import TrainingConfig
from train.graded_examples import Balance

#: Tokens of query and document that go through the model at once, at most: activations are what fills the memory.
TOKENS_AT_ONCE = 3_072


class JudgeTrainingConfig(TrainingConfig):
    """Fields of `relabel train-judge` beside the shared ones.

    Attributes:
        pairs: a pairs table with human labels.
        model: the causal LM to start from: package model, local folder or S3 folder.
        prompt: one of `relabel.prompts.PROMPTS`; judge later with the same.
        examples: address of a JSON-lines file of graded pairs that the prompt shows first; judge later with the same.
        method: `full` trains all weights (learns a grade in minutes with a small model), `lora` an adapter of low rank
            (what fits a large model on a GPU).
        rank: of the adapter.
        alpha: scale of the adapter.
        targets: names of the linear layers that get an adapter; default: all of them.
        trained_layers: `full` trains only so many of the topmost layers; embeddings and the layers below stay as they
            are, which saves most of their backward pass. null: all are trained.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them: a third more
            computation for a fraction of the memory.
        loss: over the grades: `cross-entropy`, `soft-targets` (neighbouring grades get a share) or `expected-grade`
            (adds the squared error of the expected grade).
        ranking_weight: weight of a pairwise loss between the pairs that go through the model together, added to it.
        ranked_within: the pairwise loss compares all of them (`batch`), or the queries of one document (`document`).
        max_document_tokens, max_query_tokens: budgets of title and text, and of the query; judge later with the same.
        balance: `query` draws about equally many pairs of each grade within each query, so that the query alone tells
            nothing; `grade` over all queries together; `natural` takes all pairs as they are.
        augment: a share of the documents is perturbed and keeps its grades.
        queries_per_document: labelled pairs of one document that go through the model together, at most, so that the
            document is computed once for all of them; saves most where the prompt begins with the document.
        other_queries: training queries of other documents that every example gets beside its own, as pairs of the
            lowest grade which share the computation of its document.
        other_weight: weight of such a pair in the loss; a labelled pair has 1.
        relevant_weight: weight of a labelled pair that is relevant, where few are.
        pairs_per_epoch: labelled pairs an epoch, at most.
        validation_pairs: pairs of the held-out queries that the best step is chosen on, at most; each validation costs
            about a third of training on as many.
        batch: examples of one step: pairs, or documents with their queries where queries_per_document is above 1.
    """

    pairs: str
    model: str = "smollm2-135m-instruct"
    prompt: str = "terse-0-3"
    examples: str | None = None
    method: Literal["full", "lora"] = "full"
    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    targets: tuple[str, ...] | None = None
    trained_layers: int | None = Field(None, ge=1)
    gradient_checkpointing: bool = False
    loss: Literal["cross-entropy", "soft-targets", "expected-grade"] = "cross-entropy"
    ranking_weight: float = Field(0.0, ge=0)
    ranked_within: Literal["batch", "document"] = "batch"
    max_document_tokens: int = Field(256, ge=8)
    max_query_tokens: int = Field(96, ge=4)
    balance: Balance = "query"
    augment: Augmentation = Augmentation()
    queries_per_document: int = Field(1, ge=1, le=64)
    other_queries: int = Field(0, ge=0, le=64)
    other_weight: float = Field(1.0, gt=0)
    relevant_weight: float = Field(1.0, gt=0)
    pairs_per_epoch: int | None = Field(None, ge=1)
    validation_pairs: int = Field(400, ge=1)
    learning_rate: float = Field(1e-4, gt=0)

    @property
    def pairs_a_row(self) -> int:
        return self.queries_per_document + self.other_queries

    @property
    def pairs_at_once(self) -> int:
        """Those of as many rows as have `TOKENS_AT_ONCE` tokens where all use up their budgets."""
        message = PROMPTS[self.prompt].user if self.prompt in PROMPTS else "{query}{document}"
        shared = message.index("{document}") < message.index("{query}")  # else each query has its copy of the document
        documents = 1 if shared else self.pairs_a_row
        a_row = documents * self.max_document_tokens + self.pairs_a_row * self.max_query_tokens
        return self.pairs_a_row * max(1, TOKENS_AT_ONCE // a_row)

    @model_validator(mode="after")
    def _documents_have_queries_to_compare(self) -> JudgeTrainingConfig:
        if self.ranking_weight and self.ranked_within == "document" and self.pairs_a_row == 1:
            raise ValueError(
                "several queries a document (queries_per_document, other_queries), or ranked_within: batch"
            )
        return self

    @model_validator(mode="after")
    def _layers_are_trained_in_full(self) -> JudgeTrainingConfig:
        if self.trained_layers and self.method != "full":
            raise ValueError("trained_layers with method: full alone; with lora, `targets` says what is trained")
        return self
