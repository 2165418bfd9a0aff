"""A sample of a pairs table: which rows, how many tokens the whole has, how often a prompt comes twice in a shard."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.planning.sample import sampled, tokens_of
from relabel.storage import Folder
from tests.jobs.stage_runs import write_pairs

QUERIES, EACH = 40, 50


@pytest.fixture
def table(tmp_path, make_pairs) -> Folder:
    """2,000 pairs of 40 queries in parts of 300 rows; documents of query 7 are ten times as long as others."""
    rows = [
        (f"q{query}", f"d{row}", f"query {query}", "word " * (30 if query == 7 else 3), 1.0)
        for query in range(QUERIES)
        for row in range(EACH)
    ]
    write_pairs(Folder(tmp_path), make_pairs(rows), part_rows=300)
    return Folder(tmp_path)


def words(sample) -> np.ndarray:
    return np.array([len(text.split()) for text in sample.pairs["text"].to_pylist()])


def test_a_sample_is_drawn_by_its_seed_without_a_row_twice(table):
    """The same seed draws the same rows, another seed others; no row twice, and no more than asked for."""
    one, same, other = (sampled(table, 200, 100, seed) for seed in (1, 1, 2))
    assert one.pairs.equals(same.pairs)
    assert not one.pairs.equals(other.pairs)
    keys = set(zip(one.pairs["query_id"].to_pylist(), one.pairs["doc_id"].to_pylist(), strict=True))
    assert len(keys) == one.pairs.num_rows == 200
    assert (one.rows, one.shards, one.shard.num_rows) == (2000, 20, 100)


def test_a_sample_of_everything_leaves_nothing_open(table):
    """Where all rows are drawn the tokens are exact: those of the distinct rows."""
    sample = sampled(table, 10_000, 2_000, 3)
    lengths = words(sample)
    found = tokens_of(sample, lengths, lengths > 10, 0)
    distinct = QUERIES  # rows of a query differ in nothing that a prompt shows
    assert sample.distinct == distinct / 2000
    assert found.total.value == pytest.approx(lengths.sum() * distinct / 2000)
    assert found.total.low == pytest.approx(found.total.value) == pytest.approx(found.total.high)
    assert found.truncated == 1 / QUERIES


def test_the_interval_holds_the_truth_as_often_as_it_says(tmp_path, make_pairs):
    """Of 60 samples of a table whose queries differ in length, the 90 % interval misses the true total in a few."""
    random = np.random.default_rng(0)
    rows = [
        (f"q{query}", f"d{row}", f"query {query}", f"{row} " * int(size), 1.0)
        for query, size in enumerate(random.integers(5, 40, 200))
        for row in range(5)
    ]
    write_pairs(Folder(tmp_path), make_pairs(rows), part_rows=1000)
    truth = sum(len(row[3].split()) for row in rows)
    inside = 0
    for seed in range(60):
        sample = sampled(Folder(tmp_path), 120, 1000, seed)
        total = tokens_of(sample, words(sample), np.zeros(120, bool), seed).total
        inside += total.low <= truth <= total.high
    assert 47 <= inside <= 60
    assert sample.distinct == 1


def test_equal_prompts_are_counted_within_a_shard_only(tmp_path, make_pairs):
    """A document under two names is one prompt where both rows are in one shard, and two where they are not."""
    rows = [("q", f"d{row}", "query", f"text {row % 50}", 1.0) for row in range(100)]
    write_pairs(Folder(tmp_path), make_pairs(rows))
    assert sampled(Folder(tmp_path), 10, 100, 0).distinct == 0.5
    assert sampled(Folder(tmp_path), 10, 50, 0).distinct == 1
