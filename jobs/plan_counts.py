"""What a recipe's stages have to do, counted on its prepared tables: samples, tokens, the batches of its trainings."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jobs.judge import engines_of, on_this_cluster, shard_rows
from jobs.recipe import Recipe
from jobs.run_stages import of_judge
from relabel.judges import JudgeConfig
from relabel.judges.base import unjudgeable
from relabel.judges.config import PROMPTED
from relabel.planning.sample import Sampled, Tokens, sampled, tokens_of
from relabel.prompts.encoding import encoder_of
from relabel.storage import Folder
from train.judge_config import JudgeTrainingConfig
from train.rehearsal import Supervision, judge_supervision, reranker_supervision

#: Rows up to which a re-ranker's groups are counted; beyond, they are as many pairs as there are.
COUNTED_ROWS = 200_000


@dataclass
class Counts:
    """Counts for one recipe.

    Args:
        recipe: what is planned; `folder`: where its prepared tables are.
        count: pairs of a sample.
        scratch: a local folder for the batches of its trainings.
    """

    recipe: Recipe
    folder: Folder
    count: int
    scratch: str
    tokens: dict[str, Tokens] = field(default_factory=dict)

    def __post_init__(self):
        self.judge: JudgeConfig = on_this_cluster(self.recipe.judge)
        self.shard_rows, _ = shard_rows(self.judge)
        self.prompted = engines_of(self.judge) <= PROMPTED
        if self.prompted:  # other judges tell themselves what they read, see `jobs.plan_rates`
            self.tokens = {name: self._encoded(sample) for name, sample in self.samples.items()}

    @cached_property
    def held_out(self) -> str:
        """The table that the judge is measured on."""
        return "held_out" if self.recipe.held_out else "test"

    @cached_property
    def samples(self) -> dict[str, Sampled]:
        """Of each table that is judged."""
        names = ["pairs", self.held_out]
        if self.recipe.promises or self.recipe.evaluate.prediction_powered:
            names.append("test")
        seed = self.recipe.seed
        return {name: sampled(self.folder / name, self.count, self.shard_rows, seed) for name in dict.fromkeys(names)}

    def training(self, training: JudgeTrainingConfig, table: str) -> JudgeTrainingConfig:
        """A section of the judge's training with what it takes from the judge, on a table."""
        return of_judge(training, self.judge, self.folder / table)

    @cached_property
    def graded(self) -> Supervision:
        """Of the judge's training on human grades."""
        return judge_supervision(self.training(self.recipe.judge_training, "human"), self._scratch())

    @cached_property
    def weak(self) -> Supervision:
        """Of its training on weak labels of a dataset."""
        return judge_supervision(self.training(self.recipe.weak_training, "weak"), self._scratch())

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

    def _encoded(self, sample: Sampled) -> Tokens:
        """Tokens of a sample's prompts."""
        columns = [sample.pairs.column(name).to_pylist() for name in ("query", "title", "text")]
        good = [row for row, texts in enumerate(zip(*columns, strict=True)) if not unjudgeable(*texts)]
        encoded = encoder_of(self.judge).encode(*([column[row] for row in good] for column in columns))
        lengths, cut = np.zeros(sample.pairs.num_rows, np.int64), np.zeros(sample.pairs.num_rows, bool)
        lengths[good] = [len(one.token_ids) for one in encoded]
        cut[good] = [one.truncated for one in encoded]
        return tokens_of(sample, lengths, cut, self.recipe.seed)
