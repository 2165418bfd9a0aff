"""Train a judge on human grades: a causal LM, cross-entropy on the grade token after the prompt.

    pairs with human labels → merged/ (what vLLM loads), adapter/ (LoRA only), training.json, queries_seen.parquet

    relabel train-judge --pairs PAIRS --model smollm2-135m-instruct --prompt terse-0-3 --out DIR

The prompts are those of judging: the same `PromptEncoder`, the same token budget. The loss is one of `GRADE_LOSSES`
over the grades, plus a small term that moves the model's mass onto them. Labels that only say relevant or not train
the same prompt (`graded_examples`), so that a judge can learn from weak labels first and from human grades last: its
`merged/` folder is the next training's `model`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from relabel.lineage import queries_behind
from relabel.models import check_context, local_model
from relabel.prompts import Prompt, asked
from relabel.prompts.few_shot import example_queries
from relabel.robustness.augmentation import Augmentation
from relabel.storage import Folder
from relabel.tables import read_manifest
from train.config import TrainingConfig
from train.grade_losses import GRADE_LOSSES, pairwise
from train.graded_examples import EXAMPLES, Balance, graded_examples, write_examples
from train.launch import launch
from train.loop import Ranks
from train.ranking import auc
from train.record import finished, shown_counts, write_record
from train.shared_documents import pair_rows
from train.supervision import query_texts, split_queries

#: Weight of the mass on the grades in the loss. With 1 (full cross-entropy) the 135 M model was near chance after 30
#: steps on DL 2019 (1.36 of ln 4 = 1.39), with 0.02 at 1.23; the mass still rises past a half within 20 steps.
MASS_WEIGHT = 0.02
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
        augment: a share of the examples is perturbed and keeps its grade.
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
        a_row = self.max_document_tokens + self.pairs_a_row * self.max_query_tokens
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


@dataclass
class JudgeTask:
    """The judge as the loop sees it (`train.loop.Task`); `validation` is the folder of the held-out rows."""

    config: JudgeTrainingConfig
    validation: Folder
    selection: str = "AUC"
    unit: str = "pairs"

    @cached_property
    def source(self) -> Path:
        return local_model(self.config.model)

    @cached_property
    def prompt(self) -> Prompt:
        return asked(self.config.prompt, self.config.examples)

    @cached_property
    def encoder(self):
        from transformers import AutoTokenizer

        from relabel.prompts.encoding import PromptEncoder

        tokenizer = AutoTokenizer.from_pretrained(self.source, trust_remote_code=False)
        return PromptEncoder(self.prompt, tokenizer, self.config.max_document_tokens, self.config.max_query_tokens)

    def build_model(self):
        import torch

        from train.grade_model import GradeModel, load_causal_lm

        lm = load_causal_lm(self.source)
        GradeModel(lm).check(self.encoder.max_prompt_tokens, shared=self.config.pairs_a_row > 1)
        if self.config.gradient_checkpointing:
            lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if self.config.method == "full":
            return GradeModel(lm).train_only(self.config.trained_layers)
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(self.config.seed)
        self._adapted = get_peft_model(
            lm,
            LoraConfig(
                r=self.config.rank,
                lora_alpha=self.config.alpha,
                lora_dropout=0.0,
                target_modules=list(self.config.targets) if self.config.targets else "all-linear",
                task_type="CAUSAL_LM",
            ),
        )
        return GradeModel(self._adapted.get_base_model())

    def parameter_groups(self, model) -> list[dict[str, Any]]:
        """Trained parameters; no weight decay on biases and normalisation."""
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [one for one in trained if one.ndim > 1], "weight_decay": self.config.weight_decay},
            {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
        ]
        return [{**group, "lr": self.config.learning_rate} for group in groups if group["params"]]

    def pairs(self, rows: pa.Table) -> int:
        return pc.sum(pc.list_value_length(rows["queries"])).as_py()

    def row_lengths(self, documents: pa.Table) -> list[int]:
        """Tokens of each row of `DOCUMENTS` in the model."""
        from train.grade_model import packed_tokens

        pairs = pair_rows(documents)
        return packed_tokens(self._prompts(pairs), [pair["document"] for pair in pairs])

    def _prompts(self, rows: list[dict]) -> list[list[int]]:
        """The prompts' token ids."""
        prompts = self.encoder.encode(*([row[name] for row in rows] for name in ("query", "title", "text")))
        return [prompt.token_ids for prompt in prompts]

    def collate(self, rows: pa.Table) -> dict[str, Any]:
        """Prompts with those of a document in one row, the grades that each pair's label allows, their weights."""
        import torch

        from train.grade_model import packed

        pairs = pair_rows(rows)
        documents = [pair["document"] for pair in pairs]
        first, more = self._first_relevant, self.config.relevant_weight
        weights = [pair["weight"] * (more if pair["lowest"] >= first else 1.0) for pair in pairs]
        return {
            "inputs": packed(self._prompts(pairs), documents, self._fill),
            "allowed": {name: torch.tensor([pair[name] for pair in pairs]) for name in ("lowest", "highest")},
            "weights": torch.tensor(weights),
            "documents": torch.tensor(documents),
        }

    @property
    def _first_relevant(self) -> int:
        """Index of the least relevant grade of the prompt."""
        return self.prompt.scale.grades.index(self.prompt.scale.relevant_from)

    @property
    def _fill(self) -> int:
        return self.encoder.tokenizer.eos_token_id or 0

    def loss(self, model, batch: dict[str, Any]):
        """The weighted mean grade loss − `MASS_WEIGHT`·log p(one of the grades) + the weighted pairwise loss.

        The second term alone would be the larger part of a full-vocabulary cross-entropy at the start, when almost no
        mass is on the grades: it would shift the whole model before a grade is learned.
        """
        import torch

        logprobs = model(**batch["inputs"]).float().log_softmax(-1)
        labels = torch.tensor(self.encoder.label_token_ids, device=logprobs.device)
        on_grades = logprobs[:, labels].logsumexp(-1)
        grades = logprobs[:, labels] - on_grades[:, None]
        weights = batch["weights"] / batch["weights"].sum()
        each = GRADE_LOSSES[self.config.loss](grades, **batch["allowed"])
        loss = (weights * each).sum() - MASS_WEIGHT * on_grades.mean()
        if self.config.ranking_weight:
            within = batch["documents"] if self.config.ranked_within == "document" else None
            loss = loss + self.config.ranking_weight * pairwise(grades, **batch["allowed"], within=within)
        return loss

    def validate(self, model, ranks: Ranks) -> dict[str, float]:
        """AUC of the expected grade, accuracy of the likeliest one, cross-entropy over the grades, mass off them."""
        rows = self.validation.read_table("validation.parquet")
        if not rows.num_rows:
            return {}
        logprobs = self._logprobs(model, ranks, rows)
        probabilities = np.exp(logprobs)
        on_grades = probabilities.sum(1)
        lowest, highest = (np.asarray(rows[name]) for name in ("lowest", "highest"))
        scale, first = self.prompt.scale, self._first_relevant
        index = np.arange(len(scale.grades))
        allowed = (index >= lowest[:, None]) & (index <= highest[:, None])
        likeliest = logprobs.argmax(1)
        return {
            "AUC": auc(probabilities @ np.array(scale.grades) / on_grades, lowest >= first),
            "accuracy": float(allowed[np.arange(len(likeliest)), likeliest].mean()),
            "cross-entropy": float((np.log(on_grades) - np.log((probabilities * allowed).sum(1))).mean()),
            "off-grade mass": float(1 - on_grades.mean()),
        }

    def _logprobs(self, model, ranks: Ranks, rows: pa.Table) -> np.ndarray:
        """Log-probabilities of the grades [rows, grades]; every rank calls the model equally often."""
        import torch

        from train.grade_model import padded

        size = self.config.rows_at_once * self.config.pairs_a_row
        order = np.argsort([-len(text) for text in rows["text"].to_pylist()], kind="stable")
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        rounds = -(-len(batches) // ranks.count)
        labels = torch.tensor(self.encoder.label_token_ids, device=ranks.device)
        found: list[tuple[int, list[float]]] = []
        for number in range(ranks.rank, rounds * ranks.count, ranks.count):
            chosen = batches[min(number, len(batches) - 1)]
            ids, last = padded(self._prompts(rows.take(pa.array(chosen)).to_pylist()), self._fill)
            logits = model(ids.to(ranks.device), last.to(ranks.device)).float()
            logprobs = logits.log_softmax(-1)[:, labels].cpu().tolist()
            if number < len(batches):
                found += zip(chosen.tolist(), logprobs, strict=True)
        values = np.empty((len(order), len(labels)))
        for row, logprobs in ranks.gathered(found):
            values[row] = logprobs
        return values

    def export(self, model, folder: Path, dtype: str) -> None:
        """The merged model with its tokenizer, and the adapter where there is one.

        Weights are saved in the dtype that training computed in: judging then sees the very weights that training saw.
        """
        import torch

        lm = model.lm
        if self.config.method == "lora":
            self._adapted.save_pretrained(folder / "adapter")
            lm = self._adapted.merge_and_unload()
        lm.to(getattr(torch, dtype)).save_pretrained(folder / "merged")
        self.encoder.tokenizer.save_pretrained(folder / "merged")


def train_judge(config: JudgeTrainingConfig, out: Folder, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Train a judge into `out` and return the content of its `training.json`.

    Args:
        config: what to train on what.
        out: gets `merged/`, `adapter/` (LoRA), `training.json`, `queries_seen.parquet`. The same call on a finished
            folder returns at once, on a killed one it goes on.

    Raises:
        ConfigError: for a folder that holds another training, a prompt whose grades do not fit, or too few pairs.
        InputError: for pairs or a model that cannot be used.
    """
    prompt = asked(config.prompt, config.examples)
    pairs = Folder(config.pairs)
    manifest = read_manifest(pairs, "pairs")
    if record := finished(out, config, {"pairs": manifest.rows, "about": manifest.about}, log):
        return record
    supervision = out / "supervision"
    task = JudgeTask(config, supervision)
    check_context(task.source, task.encoder.max_prompt_tokens)
    labels = [repr(label) for label in task.encoder.prompt.labels]  # each is one token, or the encoder refuses it
    log(
        f"judge from {config.model}, {config.method}, peak learning rate {config.learning_rate:g}, "
        f"prompt {config.prompt} with the grades {', '.join(labels)}"
    )
    queries = set(query_texts(pairs, "pairs").values())
    split = split_queries(queries, config.validation_fraction, config.validation_queries, config.seed, set())
    held = [row for row in graded_examples(pairs, prompt) if row["fingerprint"] in split.validation]
    held = _spread(held, config.validation_pairs)
    supervision.write_table("validation.parquet", pa.Table.from_pylist(held, schema=EXAMPLES))
    log(f"queries: {len(split.train):,} for training, {len(split.validation):,} held out ({len(held):,} pairs)")
    written = write_examples(
        pairs,
        supervision,
        prompt,
        split.train,
        balance=config.balance,
        augment=config.augment,
        limit=config.pairs_per_epoch,
        epochs=config.epochs,
        batch=config.batch,
        ranks=config.workers,
        seed=config.seed,
        lengths=task.row_lengths,
        queries_per_document=config.queries_per_document,
        other_queries=config.other_queries,
        other_weight=config.other_weight,
    )
    log(f"supervision: {shown_counts(written.counts)}")
    outcome = launch(task, config, written.epochs, supervision, out, log)
    extra = {
        "prompt": config.prompt,
        "prompt_id": prompt.prompt_id,
        "max_document_tokens": config.max_document_tokens,
        "max_query_tokens": config.max_query_tokens,
        "pairs": manifest.about,
    }
    seen = split.seen | queries_behind(config.model) | example_queries(prompt)
    seen |= set(manifest.about.get("example_queries", ()))  # what showed a model how to write the queries of the table
    return write_record(out, "judge", config, config.model, outcome, written.counts, seen, extra)


def _spread(rows: list[dict], most: int) -> list[dict]:
    """At most `most` rows, evenly over the list."""
    if len(rows) <= most:
        return rows
    return [rows[int(place)] for place in np.linspace(0, len(rows) - 1, most)]
