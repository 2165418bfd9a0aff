"""The judge as the training loop sees it: prompts of judging, the grade loss, held-out measures, what is exported.

The prompts are those of judging: the same `PromptEncoder`, the same token budget. The loss is one of `GRADE_LOSSES`
over the grades, plus a small term that moves the model's mass onto them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.models import local_model
from relabel.prompts import Prompt, asked
from relabel.storage import Folder
from train.grade_losses import GRADE_LOSSES, pairwise
from train.judge_config import JudgeTrainingConfig
from train.loop import Ranks
from train.ranking import auc
from train.shared_documents import pair_rows

#: Weight of the mass on the grades in the loss. With 1 (full cross-entropy) the 135 M model was near chance after 30
#: steps on DL 2019 (1.36 of ln 4 = 1.39), with 0.02 at 1.23; the mass still rises past a half within 20 steps.
MASS_WEIGHT = 0.02
#: Documents whose prompts are encoded at once to measure them.
MEASURED_AT_ONCE = 512


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
        from relabel.prompts.encoding import encoder_of

        return encoder_of(self.config)

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

        lengths: list[int] = []
        for start in range(0, documents.num_rows, MEASURED_AT_ONCE):
            pairs = pair_rows(documents.slice(start, MEASURED_AT_ONCE))
            lengths += packed_tokens(self._prompts(pairs), [pair["document"] for pair in pairs])
        return lengths

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
        """The mean grade loss − `MASS_WEIGHT`·log p(one of the grades) + the weighted pairwise loss.

        Means are over documents, and for each the weighted mean of its pairs, so that they do not depend on how a batch
        is cut into parts; the pairwise loss, which compares what goes through together, does. The second term alone
        would be the larger part of a full-vocabulary cross-entropy at the start, when almost no mass is on the grades:
        it would shift the whole model before a grade is learned.
        """
        import torch

        logprobs = model(**batch["inputs"]).float().log_softmax(-1)
        labels = torch.tensor(self.encoder.label_token_ids, device=logprobs.device)
        on_grades = logprobs[:, labels].logsumexp(-1)
        grades = logprobs[:, labels] - on_grades[:, None]
        weights, documents = batch["weights"], batch["documents"]
        of_document = torch.zeros(int(documents[-1]) + 1, device=weights.device).index_add(0, documents, weights)
        shares = weights / of_document[documents] / len(of_document)
        each = GRADE_LOSSES[self.config.loss](grades, **batch["allowed"])
        loss = (shares * (each - MASS_WEIGHT * on_grades)).sum()
        if self.config.ranking_weight:
            within = documents if self.config.ranked_within == "document" else None
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
