"""What a recipe's stages have to do, counted on its prepared tables, and how fast it will go.

Stages have the names that `relabel run` gives them. What does not exist before the run (written queries, the labels of
a rule) is estimated from what is known of it, with the interval that this deserves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jobs.judge import engines_of, on_this_cluster, resolve, shard_rows
from jobs.recipe import FROM_JUDGE, Recipe
from jobs.rehearsal import Trainer, rehearse_judge
from jobs.run_stages import zero_shot, zero_shot_max_length
from relabel import hardware
from relabel.judges import JudgeConfig
from relabel.judges.base import unjudgeable
from relabel.judges.config import MODEL_FREE, PROMPTED
from relabel.models import load_tokenizer, local_model
from relabel.planning import rates as known
from relabel.planning.estimate import Work
from relabel.planning.rates import Rate
from relabel.planning.sample import Sampled, Tokens, sampled, tokens_of
from relabel.planning.uncertain import Uncertain
from relabel.prompts import asked
from relabel.prompts.encoding import PromptEncoder
from relabel.report.cost import actors_of
from relabel.storage import Folder
from relabel.tables import read_manifest
from train.judge_config import JudgeTrainingConfig
from train.rehearsal import Supervision, judge_supervision, reranker_supervision

Log = Callable[[str], None]
#: Share of written queries that the encoder keeps: 3,348 of 6,477 (docs/results.md), and the factor it may be off by.
KEPT = Uncertain.within(0.52, 1.5)
#: Rows up to which a re-ranker's groups are counted; beyond, they are as many pairs as there are.
COUNTED_ROWS = 200_000


@dataclass
class Planner:
    """Counts and measures for one recipe.

    Args:
        recipe: what is planned; `folder`: where its prepared tables are.
        count: pairs of a sample.
        measure: whether to time judge, training and encoder here.
    """

    recipe: Recipe
    folder: Folder
    count: int
    measure: bool
    log: Log
    rates: dict[str, Rate] = field(default_factory=dict)

    def __post_init__(self):
        self.judge: JudgeConfig = on_this_cluster(self.recipe.judge)
        self.shard_rows, _ = shard_rows(self.judge)
        self._asked = self.recipe.model_dump(mode="json")

    @cached_property
    def held_out(self) -> str:
        return "held_out" if self.recipe.held_out else "test"

    def sample(self, table: str) -> Sampled:
        return sampled(self.folder / table, self.count, self.shard_rows, self.recipe.seed)

    @cached_property
    def samples(self) -> dict[str, Sampled]:
        names = ["pairs", self.held_out]
        if self.recipe.promises or self.recipe.evaluate.prediction_powered:
            names.append("test")
        return {name: self.sample(name) for name in dict.fromkeys(names)}

    @cached_property
    def supervision(self) -> Supervision | None:
        """Of the judge's training on human grades."""
        return self._of_judge(self.recipe.judge_training, "human") if self.recipe.judge_training else None

    def _of_judge(self, training: JudgeTrainingConfig, table: str) -> Supervision:
        return judge_supervision(self.training(training, table), self._scratch())

    def training(self, training: JudgeTrainingConfig, table: str) -> JudgeTrainingConfig:
        shared = {name: getattr(self.judge, name) for name in FROM_JUDGE}
        return training.model_copy(update=shared | {"pairs": (self.folder / table).uri})

    @cached_property
    def rankings(self) -> dict[bool, Supervision]:
        """Of a re-ranker: on the pairs that have a label (False), and on all (True), where a judge gives them one."""
        if self.samples["pairs"].rows > COUNTED_ROWS:
            return {}
        kinds = {False} | ({True} if len(self.recipe.rules) > 1 else set())
        return {
            every: reranker_supervision(self.recipe.reranker, self.folder / "pairs", self._scratch(), every)
            for every in sorted(kinds)
        }

    def _scratch(self) -> Folder:
        return Folder(tempfile.mkdtemp(prefix="relabel-plan-", dir=self.scratch))

    # --- tokens -------------------------------------------------------------------------------------------------

    def settle(self, scratch: str, earlier: dict[str, list[float]], source: str) -> None:
        """Tokens of the samples, and all rates: defaults, over them what earlier runs measured, over both what is
        measured here for what they do not tell."""
        self.scratch = scratch
        prompted = engines_of(self.judge) <= PROMPTED
        self.tokens = {name: self._encoded(sample) for name, sample in self.samples.items()} if prompted else {}
        timed = not prompted or (self.measure and "judge" not in earlier)
        measured = self._judge() if timed else {}
        self.rates = known.merged(self._defaults(), measured, "measured here")
        self.rates = known.merged(self.rates, earlier, source)
        if self.measure:
            trained = self._trainings(earlier)
            self.rates = known.merged(self.rates, trained, "measured here")

    def _encoded(self, sample: Sampled) -> Tokens:
        """Tokens of a sample's prompts."""
        prompt = asked(self.judge.prompt, self.judge.examples)
        encoder = PromptEncoder(prompt, self._tokenizer, self.judge.max_document_tokens, self.judge.max_query_tokens)
        columns = [sample.pairs.column(name).to_pylist() for name in ("query", "title", "text")]
        good = [row for row, texts in enumerate(zip(*columns, strict=True)) if not unjudgeable(*texts)]
        encoded = encoder.encode(*([column[row] for row in good] for column in columns))
        lengths, cut = np.zeros(sample.pairs.num_rows, np.int64), np.zeros(sample.pairs.num_rows, bool)
        lengths[good] = [len(one.token_ids) for one in encoded]
        cut[good] = [one.truncated for one in encoded]
        return tokens_of(sample, lengths, cut, self.recipe.seed)

    @cached_property
    def _tokenizer(self):
        return load_tokenizer(local_model(self.judge.model))

    # --- rates --------------------------------------------------------------------------------------------------

    def _judge(self) -> dict[str, list[float]]:
        """The judge timed on pairs; what asks no language model also says how many tokens it reads."""
        _, name = resolve(self.judge)
        found: dict[str, list[float]] = {}
        todo = {} if self.tokens else self.samples
        self.log(f"plan: timing the judge {name} on a few pairs")
        for table in todo or ("pairs",):
            shard = self.samples[table].shard
            rehearsed = rehearse_judge(self.judge, name, shard, todo[table].pairs if todo else None)
            if todo:
                self.tokens[table] = tokens_of(todo[table], rehearsed.tokens, rehearsed.truncated, self.recipe.seed)
            if not found:
                found = {"judge": rehearsed.rates}
                stage = known.STARTS["gpu" if self.judge.on_gpu else "cpu"]["stage"]
                found["start judge"] = [stage + rehearsed.start]
        return found

    def _trainings(self, earlier: dict[str, list[float]]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        with Trainer(self.recipe.judge_training or self.recipe.reranker) as trainer:
            pairs = self.samples[self.held_out].pairs
            lengths = {"encoder": zero_shot_max_length(self.recipe), "encoder in full": None}
            for key, length in lengths.items():
                load, rate = trainer.encoder(zero_shot(self.recipe), pairs, length)
                found |= {key: [rate], "start system": [load]}
            if self.recipe.judge_training and "train-judge" not in earlier:
                self.log("plan: timing steps of train-judge")
                found["train-judge"] = trainer.steps(
                    self.supervision, self.training(self.recipe.judge_training, "human")
                )
            if self.rankings and "train-reranker" not in earlier:
                self.log("plan: timing steps of train-reranker")
                found["train-reranker"] = trainer.steps(self.rankings[max(self.rankings)], self.recipe.reranker)
        return found

    def _defaults(self) -> dict[str, Rate]:
        modelled = engines_of(self.judge) - MODEL_FREE
        encoder = known.model_parameters(local_model(self.recipe.reranker.model))
        language = engines_of(self.judge) & PROMPTED or self.recipe.judge_training
        judge = (
            known.model_parameters(local_model(self.judge.model))
            if modelled and self.judge.engine != "panel"
            else encoder
        )
        found = known.defaults(
            judge,
            encoder,
            self.tokens["pairs"].mean,
            self.judge.on_gpu,
            hardware.cores(),
            hardware.compute_dtype(self.judge.dtype, self.judge.on_gpu).value == "bfloat16",
        )
        engine = "start engine" if language else "start encoder"
        parts = ["start stage", *([engine] if modelled else [])]
        start = Uncertain.within(sum(found[name].found.value for name in parts), 1.4)
        found["start judge"] = Rate(start, found["start stage"].source)
        if not modelled:
            plain = known.PLAIN[self.judge.engine] * self.tokens["pairs"].mean
            found["judge"] = Rate(Uncertain.within(plain, known.DEFAULT), found["judge"].source)
        return found

    # --- work ---------------------------------------------------------------------------------------------------

    def works(self) -> list[Work]:
        """Every stage of the run, in its order."""
        recipe, exactly = self.recipe, Uncertain.exactly
        works = [Work("start", exactly(0), unit="", start=("start ray",))]
        if recipe.generation:
            works.append(self._writing())
        if recipe.weak_training:
            works.append(self._weak())
        if recipe.judge_training:
            rows = exactly(self.supervision.trained)
            load = exactly(self.supervision.load)
            works.append(self._trained("train-judge", rows, load, self.supervision.checkpoints))
        works.append(self._judged("judge held-out", self.held_out))
        held = exactly(read_manifest(self.folder / self.held_out, "pairs").rows)
        works.append(Work("agreement", held, load=held, rate="encoder in full", start=("start agreement",)))
        works.append(Work("gate", exactly(0), unit=""))
        if recipe.calibration:
            works.append(Work("calibrate", held, start=("start calculation",)))
        if recipe.robustness:
            works.append(self._perturbed())
        works.append(self._judged("judge", "pairs"))
        works += [work for name in recipe.rules for work in self._rule(name)]
        if recipe.promises or recipe.evaluate.prediction_powered:
            works.append(self._judged("judge test", "test"))
        if recipe.promises:
            works.append(Work("promises", exactly(self.samples["test"].rows), start=("start calculation",)))
        works.append(self._evaluated())
        return works

    def _judged(self, stage: str, table: str) -> Work:
        sample, tokens = self.samples[table], self.tokens[table]
        return Work(
            stage,
            Uncertain.exactly(sample.rows),
            load=tokens.total,
            rate="judge",
            start=("start judge",),
            tokens=tokens.total,
            actors=self.judge.actors,
            shards=sample.shards,
            mean_tokens=tokens.mean,
            truncated=tokens.truncated,
            duplicates=1 - sample.distinct,
        )

    def _perturbed(self) -> Work:
        sample, tokens = self.samples[self.held_out], self.tokens[self.held_out]
        suite = self.recipe.robustness
        rows = min(suite.max_pairs, sample.rows) * (1 + len(suite.perturbations))
        load = Uncertain.within(rows * tokens.mean, 1.2)  # variants differ in length
        return Work(
            "robustness", Uncertain.exactly(rows), load=load, rate="judge", start=("start judge",), tokens=load,
            actors=self.judge.actors, shards=-(-rows // self.shard_rows),
        )  # fmt: skip

    def _writing(self) -> Work:
        from relabel.generation.prompt import SHOTS, QueryPrompt

        section = self.recipe.generation
        source = self.folder / section.documents_from
        documents = min(section.documents, read_manifest(source, "pairs").rows)
        tokenizer = load_tokenizer(local_model(section.model or self.recipe.judge.model))
        prompt = QueryPrompt(SHOTS[: section.examples], tokenizer, section.max_document_tokens)
        mean = prompt.longest - section.max_document_tokens / 2 + section.max_query_tokens / 2
        load = Uncertain.within(documents * mean, 1.3)
        return Work(
            "generate-queries", Uncertain.exactly(documents), "documents", load=load, rate="generate-queries",
            start=("start stage", "start engine", "start encoder"), tokens=load, actors=section.actors,
            mean_tokens=mean,
        )  # fmt: skip

    def _weak(self) -> Work:
        """Training on weak labels: counted where they are a dataset's, else from the share of queries that is kept."""
        training, section = self.recipe.weak_training, self.recipe.generation
        if not section:
            found = self._of_judge(training, "weak")
            rows, load = Uncertain.exactly(found.trained), Uncertain.exactly(found.load)
            return self._trained("train-judge weak", rows, load, found.checkpoints)
        labelled = 1 + section.near
        together = min(training.queries_per_document, labelled)
        documents = KEPT.times(section.documents)
        pairs = documents.times((labelled if together == 1 else together) + training.other_queries)
        if training.queries_per_document == 1:
            pairs = documents.times(labelled * (1 + training.other_queries))
        if limit := training.pairs_per_epoch:
            most = limit * (1 + training.other_queries)
            pairs = Uncertain(min(most, pairs.value), min(most, pairs.low), min(most, pairs.high))
        pairs = pairs.times(training.epochs)
        steps = pairs.value / (training.batch * training.pairs_a_row)
        checkpoints = training.epochs + int(steps // training.checkpoint_steps)
        return self._trained("train-judge weak", pairs, pairs, checkpoints)

    def _trained(self, stage: str, rows: Uncertain, load: Uncertain, checkpoints: int) -> Work:
        """A training with its load in pairs over all workers, and its launch: of an earlier run, or of its parts."""
        key, model = (stage, "judge")
        if stage.startswith("train-reranker"):
            key, model = "train-reranker", "reranker"
        start = (f"start {key}",)
        if start[0] not in self.rates:
            start = ("start training", *[f"start checkpoint {model}"] * (checkpoints + 1))  # the export is one more
        workers = actors_of(stage, self._asked)
        each = load.times(1 / workers)  # data parallel: each worker has its share
        return Work(stage, rows, load=each, rate=key, start=start, actors=workers)

    def _rule(self, name: str) -> list[Work]:
        """Labels by a rule, and its re-rankers."""
        pairs = self.samples["pairs"].rows
        rows = Uncertain.exactly(pairs)
        works = [Work(f"adjust {name}", rows, load=rows, rate="adjust", start=("start adjust",))]
        trained = load = rows.times(self.recipe.reranker.epochs)
        checkpoints = self.recipe.reranker.epochs
        if self.rankings:
            found = self.rankings.get(name != "keep") or self.rankings[False]
            trained, load = (Uncertain.exactly(number) for number in (found.trained, found.load))
            checkpoints = found.checkpoints
        if name != "keep":  # a rule may leave labels out
            trained, load = (Uncertain(one.value, one.value * 0.8, one.value * 1.05) for one in (trained, load))
        trainings = [f"train-reranker {one}" for one in self.recipe.trainings(name)]
        return works + [self._trained(stage, trained, load, checkpoints) for stage in trainings]

    def _evaluated(self) -> Work:
        test = read_manifest(self.folder / "test", "pairs").rows
        systems = 1 + sum(len(self.recipe.trainings(name)) for name in self.recipe.rules)
        return Work(
            "evaluate", Uncertain.exactly(test), load=Uncertain.exactly(test * systems), rate="encoder",
            start=("start evaluate", *["start system"] * systems),
        )  # fmt: skip
