"""Supervision: which rows of a labels or pairs table are trained on, in which groups, deterministically."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.errors import ConfigError, InputError
from relabel.lineage import query_fingerprint
from relabel.storage import Folder
from tests.train.tables import fingerprints, read_epoch, topic_pairs, write_labels
from train.supervision import grouped, query_texts, split_queries, write_groups


def characters(groups):
    """Characters of each group's documents."""
    return [sum(map(len, texts)) for texts in groups["documents"].to_pylist()]


@pytest.fixture
def groups(tmp_path):
    """Write the groups of some rows of a labels table; returns the counts and the epoch's rows."""

    def write(rows: list[dict], name: str = "out", epochs: int = 1, **options):
        labels, out = Folder(tmp_path / f"labels-{name}"), Folder(tmp_path / name)
        write_labels(labels, rows, part_rows=10)
        settings = {
            "loss_grouping": "per-query",
            "group": 4,
            "batch": 1,
            "ranks": 1,
            "seed": 0,
            "lengths": characters,
        } | options
        written = write_groups(labels, out, fingerprints(rows), epochs=epochs, **settings)
        return written, out

    return write


def test_per_positive_groups():
    """Each positive leads one group, followed by different negatives."""
    labels = np.array([0, 1, 0, 0, 1, 0, 0.4])
    found = grouped(labels, 4, "per-positive", 0.5, np.random.default_rng(0))
    assert sorted(group[0] for group in found) == [1, 4]
    for group in found:
        assert len(set(group)) == 4
        assert all(labels[row] < 0.5 for row in group[1:])


def test_per_positive_without_contrast():
    """A query without a positive, or without a negative, has no group for a contrastive loss."""
    random = np.random.default_rng(0)
    assert grouped(np.zeros(4), 4, "per-positive", 0.5, random) == []
    assert grouped(np.ones(4), 4, "per-positive", 0.5, random) == []


def test_per_query_groups_cover_all_documents():
    """Every document is in a group of at most the given size, and every group has a positive."""
    labels = np.array([1.0] + [0.0] * 10)
    found = grouped(labels, 4, "per-query", 0.5, np.random.default_rng(0))
    assert sorted({row for group in found for row in group}) == list(range(11))
    assert all(0 in group for group in found)
    assert max(map(len, found)) <= 4


def test_per_query_groups_without_positives():
    """A query without positives is still used by losses that can learn from its degrees."""
    found = grouped(np.array([0.1, 0.2, 0.3]), 2, "per-query", 0.5, np.random.default_rng(0))
    assert sorted(row for group in found for row in group) == [0, 1, 2]


def test_groups_carry_labels_and_weights(groups):
    """A group's documents keep their degree and weight, and a title stands before its text."""
    rows = topic_pairs(queries=1, documents=4)
    rows[1]["weight"] = 0.5
    (row,) = read_epoch(groups(rows)[1]).to_pylist()
    found = dict(zip(row["documents"], zip(row["labels"], row["weights"], strict=True), strict=True))
    assert found[rows[1]["text"]] == (pytest.approx(1 / 3), 0.5)
    assert found[f"{rows[3]['title']}\n{rows[3]['text']}"] == (1.0, 1.0)


def test_rows_left_out_are_counted(groups):
    """Rows with a null label or weight 0 are not trained on; queries without a usable group are counted."""
    rows = topic_pairs(queries=3, documents=4)
    rows[0]["label"] = None
    rows[1]["weight"] = 0.0
    for row in rows[8:]:
        row["label"] = None
    written, out = groups(rows)
    assert written.counts == {
        "queries": 3,
        "rows": 6,
        "rows_left_out": 6,
        "groups": 2,
        "queries_unusable": 1,
    }
    assert rows[0]["text"] not in str(read_epoch(out)["documents"].to_pylist())


def test_the_scale_says_what_is_a_positive(tmp_path):
    """Where people call grade 1 of 0–3 relevant, a degree of a third leads a group; without word of it it does not."""
    rows = topic_pairs(queries=1, documents=2)
    found = {}
    for name, about in (("default", {}), ("from-1", {"relevant_degree": 1 / 3})):
        labels, out = Folder(tmp_path / name), Folder(tmp_path / f"{name}-out")
        write_labels(labels, rows, about)
        options = {"loss_grouping": "per-positive", "group": 2, "epochs": 1, "batch": 1, "ranks": 1, "seed": 0}
        options["lengths"] = characters
        try:
            found[name] = write_groups(labels, out, fingerprints(rows), **options).counts["groups"]
        except ConfigError:
            found[name] = 0
    assert found == {"default": 0, "from-1": 1}


def test_groups_without_contrast_are_counted(groups):
    """Groups whose documents all have one degree teach a ranking loss nothing; the counts say how many there are."""
    rows = topic_pairs(queries=3, documents=4)
    for row in rows[4:8]:
        row["label"] = 0.0
    written, _ = groups(rows)
    assert (written.counts["groups"], written.counts["groups_of_one_degree"]) == (3, 1)


def test_groups_are_a_function_of_the_seed(groups):
    """Two runs write the same groups; another seed and another epoch draw others."""
    rows = topic_pairs(queries=6, documents=12)
    options = {"loss_grouping": "per-positive", "epochs": 2}
    first, second, third = (
        groups(rows, name, seed=seed, **options)[1] for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert read_epoch(first).equals(read_epoch(second))
    assert not read_epoch(first).equals(read_epoch(third))
    assert not read_epoch(first, 0).equals(read_epoch(first, 1))


def test_only_training_queries(tmp_path):
    """Held-out queries give no group."""
    rows = topic_pairs(queries=4, documents=4)
    labels, out = Folder(tmp_path / "labels"), Folder(tmp_path / "out")
    write_labels(labels, rows)
    train = fingerprints(rows[:8])
    write_groups(
        labels, out, train, loss_grouping="per-query", group=4, epochs=1, batch=1, ranks=1, seed=0, lengths=characters
    )
    assert {query_fingerprint(query) for query in read_epoch(out)["query"].to_pylist()} == train


def test_scattered_queries_are_refused(tmp_path):
    """Rows of a query in several places are an error that names the query."""
    rows = topic_pairs(queries=2, documents=2)
    write_labels(Folder(tmp_path), [rows[0], *rows[2:], rows[1]])
    with pytest.raises(InputError, match="query 'q0': found rows of this query in several places"):
        query_texts(Folder(tmp_path), "labels")


def test_too_few_groups_for_a_batch(groups):
    """Groups that do not fill one batch are an error that says how many there are."""
    with pytest.raises(ConfigError, match="batch: found 64 with 2 usable groups"):
        groups(topic_pairs(queries=2, documents=4), batch=64)


def test_split_by_query():
    """About the wanted share is held out, the two sides do not meet, and the seed decides which queries."""
    queries = {f"{number:016x}" for number in range(2000)}
    split = split_queries(queries, 0.1, 10_000, 0, set())
    assert 140 < len(split.validation) < 260
    assert split.train | split.validation == queries
    assert not split.train & split.validation
    assert split_queries(queries, 0.1, 10_000, 0, set()).validation == split.validation
    assert split_queries(queries, 0.1, 10_000, 1, set()).validation != split.validation
    assert len(split_queries(queries, 0.5, 50, 0, set()).validation) < 90
