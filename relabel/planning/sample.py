"""A seeded sample of a pairs table, and what it says about the whole: tokens, duplicates, cut texts.

Some shards are read whole, which tells how often a prompt comes twice in a shard (it is asked once); of their rows some
are drawn and tokenized. The interval is a bootstrap over the queries of the sample, since pairs of one query have that
in common; it shrinks to nothing where the sample is the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from relabel.ledger import cut_shards, part_rows, read_shard
from relabel.planning.uncertain import DRAWS, Uncertain
from relabel.records import PAIRS
from relabel.storage import Folder
from relabel.tables import read_manifest

#: Shards that are read, at most.
SHARDS_READ = 8


@dataclass(frozen=True)
class Sampled:
    """A sample of a pairs table.

    Attributes:
        rows: of the whole table; `shards`: it would be judged in.
        pairs: the drawn rows, in the order of the table; `shard`: the rows of one shard.
        distinct: share of the rows of a shard whose prompt no other row of the shard has.
    """

    rows: int
    shards: int
    pairs: pa.Table
    shard: pa.Table
    distinct: float


@dataclass(frozen=True)
class Tokens:
    """Prompt tokens of a table: of all distinct prompts, a pair on average, and the share of pairs that are cut."""

    total: Uncertain
    mean: float
    truncated: float


def sampled(pairs: Folder, count: int, shard_rows: int, seed: int) -> Sampled:
    """Draw `count` rows (or all there are) of a pairs table.

    Args:
        shard_rows: rows a shard, within which equal prompts are asked once.
        seed: of the choice of shards and rows.
    """
    random = np.random.default_rng(seed)
    shards = cut_shards(part_rows(pairs, read_manifest(pairs, "pairs").parts), shard_rows)
    chosen = random.permutation(len(shards))[:SHARDS_READ]
    read = [read_shard(pairs, shards[number]) for number in sorted(chosen.tolist())]
    together = pa.concat_tables([PAIRS.empty_table(), *read])
    drawn = np.sort(random.permutation(together.num_rows)[:count])
    return Sampled(
        sum(shard.rows for shard in shards),
        len(shards),
        together.take(pa.array(drawn, pa.int64())),
        read[0] if read else PAIRS.empty_table(),
        sum(map(_distinct, read)) / max(1, together.num_rows),
    )


def tokens_of(sample: Sampled, lengths: np.ndarray, truncated: np.ndarray, seed: int) -> Tokens:
    """What the prompt lengths of a sample (int [pairs], 0 where a pair cannot be judged) say about its table."""
    if not len(lengths):
        return Tokens(Uncertain.exactly(0), 0.0, 0.0)
    _, query = np.unique(sample.pairs["query_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    sums, counts = np.bincount(query, lengths), np.bincount(query)
    random = np.random.default_rng(seed)
    drawn = random.integers(len(sums), size=(DRAWS // 4, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    mean = float(np.mean(lengths))
    left = np.sqrt(max(0.0, 1 - len(lengths) / sample.rows))  # finite population: nothing is left to err about
    low, high = np.quantile(means, (0.05, 0.95))
    scale = sample.rows * sample.distinct
    total = Uncertain(
        mean * scale, (mean - left * max(0, mean - low)) * scale, (mean + left * max(0, high - mean)) * scale
    )
    return Tokens(total, mean, float(np.mean(truncated)))


def _distinct(shard: pa.Table) -> int:
    """Rows of a shard that differ in query, title or text; texts that only differ behind the cut count as different."""
    return shard.group_by(["query", "title", "text"]).aggregate([]).num_rows
