"""The stages of a run as work: rows, load, rate and start of each, under the names that `relabel run` gives them.

What does not exist before the run (written queries, the labels of a rule) is estimated from what is known of it, with
the interval that this deserves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.plan_counts import Counts
from relabel.models import load_tokenizer, local_model
from relabel.planning.estimate import Work
from relabel.planning.rates import Rate
from relabel.planning.uncertain import Uncertain
from relabel.report.cost import actors_of
from relabel.tables import read_manifest

#: Share of written queries that the encoder keeps: 3,348 of 6,477 (docs/results.md), and the factor it may be off by.
KEPT = Uncertain.within(0.52, 1.5)


@dataclass(frozen=True)
class Stages:
    """The stages of a recipe whose work is counted and whose rates are known."""

    counts: Counts
    rates: Mapping[str, Rate]

    def works(self) -> list[Work]:
        """Every stage of the run, in its order."""
        recipe, exactly = self.counts.recipe, Uncertain.exactly
        works = [Work("start", exactly(0), unit="", start=("start ray",))]
        if recipe.generation:
            works.append(self._writing())
        if recipe.weak_training:
            works.append(self._weak())
        if recipe.judge_training:
            rows = exactly(self.counts.graded.trained)
            load = exactly(self.counts.graded.load)
            works.append(self._trained("train-judge", rows, load, self.counts.graded.checkpoints))
        works.append(self._judged("judge held-out", self.counts.held_out))
        held = exactly(read_manifest(self.counts.folder / self.counts.held_out, "pairs").rows)
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
            works.append(Work("promises", exactly(self.counts.samples["test"].rows), start=("start calculation",)))
        works.append(self._evaluated())
        return works

    def _judged(self, stage: str, table: str) -> Work:
        sample, tokens = self.counts.samples[table], self.counts.tokens[table]
        return Work(
            stage,
            Uncertain.exactly(sample.rows),
            load=tokens.total,
            rate="judge",
            start=("start judge",),
            tokens=tokens.total,
            actors=self.counts.judge.actors,
            shards=sample.shards,
            mean_tokens=tokens.mean,
            truncated=tokens.truncated,
            duplicates=1 - sample.distinct,
        )

    def _perturbed(self) -> Work:
        sample, tokens = self.counts.samples[self.counts.held_out], self.counts.tokens[self.counts.held_out]
        suite = self.counts.recipe.robustness
        rows = min(suite.max_pairs, sample.rows) * (1 + len(suite.perturbations))
        load = Uncertain.within(rows * tokens.mean, 1.2)  # variants differ in length, and some change nothing
        return Work(
            "robustness", Uncertain(rows, 0.8 * rows, rows), load=load, rate="judge", start=("start judge",),
            tokens=load, actors=self.counts.judge.actors, shards=-(-rows // self.counts.shard_rows),
        )  # fmt: skip

    def _writing(self) -> Work:
        from relabel.generation.prompt import SHOTS, QueryPrompt

        section = self.counts.recipe.generation
        source = self.counts.folder / section.documents_from
        documents = min(section.documents, read_manifest(source, "pairs").rows)
        tokenizer = load_tokenizer(local_model(section.model or self.counts.recipe.judge.model))
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
        training, section = self.counts.recipe.weak_training, self.counts.recipe.generation
        if not section:
            found = self.counts.weak
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
        workers = actors_of(stage, self.counts.recipe.model_dump(mode="json"))
        each = load.times(1 / workers)  # data parallel: each worker has its share
        return Work(stage, rows, load=each, rate=key, start=start, actors=workers)

    def _rule(self, name: str) -> list[Work]:
        """Labels by a rule, and its re-rankers."""
        pairs = self.counts.samples["pairs"].rows
        rows = Uncertain.exactly(pairs)
        works = [Work(f"adjust {name}", rows, load=rows, rate="adjust", start=("start adjust",))]
        trained = load = rows.times(self.counts.recipe.reranker.epochs)
        checkpoints = self.counts.recipe.reranker.epochs
        if self.counts.rankings:
            found = self.counts.rankings.get(name != "keep") or self.counts.rankings[False]
            trained, load = (Uncertain.exactly(number) for number in (found.trained, found.load))
            checkpoints = found.checkpoints
        if name != "keep":  # a rule may leave labels out
            trained, load = (Uncertain(one.value, one.value * 0.8, one.value * 1.05) for one in (trained, load))
        trainings = [f"train-reranker {one}" for one in self.counts.recipe.trainings(name)]
        return works + [self._trained(stage, trained, load, checkpoints) for stage in trainings]

    def _evaluated(self) -> Work:
        test = read_manifest(self.counts.folder / "test", "pairs").rows
        systems = 1 + sum(len(self.counts.recipe.trainings(name)) for name in self.counts.recipe.rules)
        return Work(
            "evaluate", Uncertain.exactly(test), load=Uncertain.exactly(test * systems), rate="encoder",
            start=("start evaluate", *["start system"] * systems),
        )  # fmt: skip
