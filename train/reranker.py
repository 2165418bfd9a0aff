"""Train a re-ranker on a labels table: groups of documents a query, any loss of `train.losses`, either architecture.

labels → model/ (sentence-transformers layout), training.json, queries_seen.parquet

relabel train-reranker --labels LABELS --model all-minilm-l6-v2 --architecture bi-encoder --loss listnet --out DIR
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from relabel.errors import ConfigError, InputError
from relabel.lineage import QUERIES_SEEN, queries_behind, query_fingerprint, read_queries_seen
from relabel.models import local_model
from relabel.records import Scale
from relabel.scoring import document_text
from relabel.storage import Folder
from relabel.tables import read_manifest, read_parts
from train.config import TrainingConfig
from train.launch import launch
from train.loop import Ranks, on_device
from train.losses import LOSSES
from train.ranking import mean_ndcg
from train.record import finished, shown_counts, write_record
from train.supervision import Split, Written, label_queries, query_texts, split_queries, write_groups

VALIDATION = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),
        pa.field("label", pa.float32(), nullable=False),
    ]
)
#: Peak learning rates by architecture where the recipe gives none. A cross-encoder over an encoder that never read
#: two texts together has far to go; a bi-encoder starts from a good ranking that large steps destroy.
LEARNING_RATES = {"cross-encoder": 1e-4, "bi-encoder": 2e-5}
#: The head (classifier, or scale and offset) starts from nothing and learns this much faster.
HEAD_FACTOR = 10.0
#: Share of the padded tokens in a group's length. On DL passages 0 balances two workers best (1.00 of the mean for the
#: slower one, 1.02 with 0.25, 1.06 with the longest document's characters) and 0.25 pads least beside that.
PADDED_SHARE = 0.25
#: Groups whose texts are encoded at once to measure them.
MEASURED_AT_ONCE = 512


class RerankerConfig(TrainingConfig):
    """Fields of `relabel train-reranker` beside the shared ones.

    Attributes:
        labels: a labels table.
        model: the encoder to start from: package model, local folder or S3 folder.
        architecture: `bi-encoder` (keeps the encoder's zero-shot ranking as its start: safest with few labels) or
            `cross-encoder` (reads query and document together: needs thousands of labelled pairs).
        loss: one of `train.losses.LOSSES`.
        group: documents of a group, at most.
        max_length: tokens of a text (bi-encoder) or of query and document together (cross-encoder).
        dropout: while training.
        batch: groups of one step.
        learning_rate: peak; default by architecture.
        validation: a pairs table with human labels to choose the best step on; default: queries held out of the labels.
    """

    labels: str
    model: str = "all-minilm-l6-v2"
    architecture: Literal["cross-encoder", "bi-encoder"] = "bi-encoder"
    loss: str = "listnet"
    group: int = Field(8, ge=2)
    max_length: int = Field(256, ge=8)
    dropout: float = Field(0.0, ge=0, lt=1)
    learning_rate: float | None = Field(None, gt=0)
    validation: str | None = None

    @field_validator("loss")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in LOSSES:
            raise ValueError(f"one of {', '.join(LOSSES)}")
        return name

    @property
    def pairs_a_row(self) -> int:
        return self.group

    @property
    def peak(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or LEARNING_RATES[self.architecture]


@dataclass
class RerankerTask:
    """The re-ranker as the loop sees it (`train.loop.Task`); `validation` is the folder of the held-out rows."""

    config: RerankerConfig
    validation: Folder
    selection: str = "nDCG@10"
    unit: str = "groups"

    @cached_property
    def source(self) -> Path:
        return local_model(self.config.model)

    @cached_property
    def tokens(self):
        from train.encoders import Tokens

        return Tokens(self.source, self.config.max_length)

    def build_model(self):
        from train.encoders import ARCHITECTURES

        return ARCHITECTURES[self.config.architecture](self.source, self.config.dropout)

    def parameter_groups(self, model) -> list[dict[str, Any]]:
        """Encoder and head, the head faster; no weight decay on biases, normalisation and the head's scalars."""
        groups: dict[tuple[bool, bool], list] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((name.startswith(model.head), parameter.ndim > 1), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": self.config.peak * (HEAD_FACTOR if head else 1.0),
                "weight_decay": self.config.weight_decay if decayed else 0.0,
            }
            for (head, decayed), parameters in groups.items()
        ]

    def pairs(self, rows: pa.Table) -> int:
        return sum(map(len, rows["documents"].to_pylist()))

    def row_lengths(self, groups: pa.Table) -> list[int]:
        """Tokens of each group, and `PADDED_SHARE` of what they are if all documents are as long as the longest.

        Without padding the tokens are the work, which workers should share evenly; with padding the longest counts.
        """
        lengths: list[int] = []
        for start in range(0, groups.num_rows, MEASURED_AT_ONCE):
            part = groups.slice(start, MEASURED_AT_ONCE)
            queries, documents = part["query"].to_pylist(), part["documents"].to_pylist()
            flat = [text for texts in documents for text in texts]
            of = np.repeat(np.arange(len(documents)), [len(texts) for texts in documents])
            if self.config.architecture == "cross-encoder":
                counts = self.tokens.count([queries[number] for number in of], flat)
                own = [0] * len(queries)
            else:
                counts, own = self.tokens.count(flat), self.tokens.count(queries)
            longest = np.zeros(len(queries))
            np.maximum.at(longest, of, counts)
            padded = longest * np.bincount(of, minlength=len(queries)) + own
            found = np.bincount(of, counts, len(queries)) + own + PADDED_SHARE * padded
            lengths += found.astype(int).tolist()
        return lengths

    def collate(self, rows: pa.Table) -> dict[str, Any]:
        """Tokens of all documents of the groups, and labels, weights, mask [queries, group], padded to the widest."""
        import torch

        documents = rows["documents"].to_pylist()
        counts = torch.tensor([len(texts) for texts in documents])
        mask = torch.arange(int(counts.max())) < counts[:, None]
        padded = {}
        for name in ("labels", "weights"):
            padded[name] = torch.zeros(mask.shape)
            padded[name][mask] = torch.tensor([value for values in rows[name].to_pylist() for value in values])
        inputs = self._inputs(rows["query"].to_pylist(), documents)
        return {"inputs": inputs, "mask": mask, **padded}

    def _inputs(self, queries: list[str], documents: list[list[str]]) -> dict[str, dict[str, Any]]:
        import torch

        flat = [text for texts in documents for text in texts]
        query_of = [number for number, texts in enumerate(documents) for _ in texts]
        if self.config.architecture == "cross-encoder":
            return {"pairs": self.tokens([queries[number] for number in query_of], flat)}
        return {
            "queries": self.tokens(queries),
            "documents": self.tokens(flat),
            "places": {"query": torch.tensor(query_of)},
        }

    def loss(self, model, batch: dict[str, Any]):
        """The configured loss over the scores of all groups, in float32."""
        import torch

        mask = batch["mask"]
        scores = torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, model(batch["inputs"]).float())
        return LOSSES[self.config.loss].function(scores, batch["labels"], batch["weights"], mask)

    def validate(self, model, ranks: Ranks) -> dict[str, float]:
        """Mean nDCG@10 over the held-out queries; each rank scores its share."""
        rows = self.validation.read_table("validation.parquet")
        if not rows.num_rows:
            return {}
        scores = self._scores(model, ranks, rows["query"].to_pylist(), rows["document"].to_pylist())
        labels = np.asarray(rows["label"], np.float64)
        return {"nDCG@10": mean_ndcg(np.asarray(rows["query_id"].to_pylist()), scores, labels)}

    def _scores(self, model, ranks: Ranks, queries: list[str], documents: list[str]) -> np.ndarray:
        """Scores of pairs; every rank calls the model equally often, as ZeRO stage 3 needs."""
        order = np.argsort([-len(text) for text in documents], kind="stable")
        size = self.config.rows_at_once * self.config.group * 2
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        rounds = -(-len(batches) // ranks.count)
        found: list[tuple[int, float]] = []
        for number in range(ranks.rank, rounds * ranks.count, ranks.count):
            rows = batches[min(number, len(batches) - 1)]
            inputs = self._inputs([queries[row] for row in rows], [[documents[row]] for row in rows])
            scores = model(on_device(inputs, ranks.device)).float().cpu().tolist()
            if number < len(batches):
                found += zip(rows.tolist(), scores, strict=True)
        scores = np.empty(len(order))
        for row, score in ranks.gathered(found):
            scores[row] = score
        return scores

    def export(self, model, folder: Path, dtype: str) -> None:
        model.save(folder / "model", self.tokens)


def train_reranker(config: RerankerConfig, out: Folder, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Train a re-ranker into `out` and return the content of its `training.json`.

    Args:
        config: what to train on what.
        out: gets `model/`, `training.json`, `queries_seen.parquet`. The same call on a finished folder returns at
            once, on a killed one it goes on.

    Raises:
        ConfigError: for a folder that holds another training, or too few groups for a batch.
        InputError: for labels or a model that cannot be used.
    """
    labels = Folder(config.labels)
    manifest = read_manifest(labels, "labels")
    inputs = {"labels": manifest.rows, "about": manifest.about}
    if record := finished(out, config, inputs, log):
        return record
    local_model(config.model)
    log(f"{config.architecture} from {config.model}, loss {config.loss}, peak learning rate {config.peak:g}")
    supervision = out / "supervision"
    human = _human_validation(config.validation)
    split, rows = _split(config, labels, human)
    task = RerankerTask(config, supervision)
    supervision.write_table("validation.parquet", rows)
    log(f"queries: {len(split.train):,} for training, {len(split.validation):,} held out ({rows.num_rows:,} pairs)")
    written = groups_of(task, labels, split.train)
    log(f"supervision: {shown_counts(written.counts)}")
    outcome = launch(task, config, written.epochs, supervision, out, log)
    behind = [manifest.about.get("judge_folder"), *(manifest.about.get("selected_on") or [])]
    inherited = set(manifest.about.get("example_queries") or ())
    inherited = inherited.union(*(_seen_by_judge(uri) for uri in behind if uri))
    extra = {
        "architecture": config.architecture,
        "loss": config.loss,
        "peak_learning_rate": config.peak,
        "labels": manifest.about,
        "judge_id": manifest.about.get("judge_id"),
        "queries_inherited_from_judge": len(inherited),
    }
    seen = split.seen | inherited | queries_behind(config.model)
    return write_record(out, "reranker", config, config.model, outcome, written.counts, seen, extra)


def groups_of(task: RerankerTask, labels: Folder, queries: set[str]) -> Written:
    """The batches of a training on these queries of a labels table, written where the task looks for them."""
    config = task.config
    return write_groups(
        labels,
        task.validation,
        queries,
        loss_grouping=LOSSES[config.loss].grouping,
        group=config.group,
        epochs=config.epochs,
        batch=config.batch,
        ranks=config.workers,
        seed=config.seed,
        lengths=task.row_lengths,
    )


def _seen_by_judge(uri: str) -> set[str]:
    """What the judge behind the labels, or its calibration, has seen; raises InputError where the list is gone."""
    if not Folder(uri).exists(QUERIES_SEEN):
        raise InputError(
            uri,
            f"no {QUERIES_SEEN} of the judge that made the labels",
            "the judge's folder, whose queries count as seen by this re-ranker, too",
            "put the folder back where the labels' table.json says",
        )
    return read_queries_seen(Folder(uri))


def _human_validation(uri: str | None) -> pa.Table | None:
    """The labelled rows of a pairs table as validation rows."""
    if uri is None:
        return None
    folder = Folder(uri)
    scale: Scale | None = read_manifest(folder, "pairs").scale
    if scale is None:
        raise ConfigError("validation", f"{uri}, a table without a scale", "a pairs table with human labels")
    columns = ["query_id", "query", "title", "text", "label"]
    rows = [row for table in read_parts(folder, "pairs", columns) for row in table.to_pylist()]
    return pa.Table.from_pylist(
        [
            {
                "query_id": row["query_id"],
                "query": row["query"],
                "document": document_text(row["title"], row["text"]),
                "label": scale.degree(row["label"]),
            }
            for row in rows
            if row["label"] is not None
        ],
        schema=VALIDATION,
    )


def _split(config: RerankerConfig, labels: Folder, human: pa.Table | None) -> tuple[Split, pa.Table]:
    """Queries to train on and to hold out, and the held-out rows."""
    queries = set(query_texts(labels, "labels").values())
    if human is not None:
        held = {query_fingerprint(query) for query in human["query"].to_pylist()}
        return Split(queries - held, held), human
    split = split_queries(queries, config.validation_fraction, config.validation_queries, config.seed, set())
    rows = [
        {"query_id": query.query_id, "query": query.query, "document": document, "label": label}
        for query in label_queries(labels)
        if query_fingerprint(query.query) in split.validation
        for document, label in zip(query.documents, query.labels, strict=True)
    ]
    return split, pa.Table.from_pylist(rows, schema=VALIDATION)
