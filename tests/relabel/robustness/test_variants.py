"""The table to judge: pairs spread over labels and queries, unique keys, ids that can be read back."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from relabel.errors import ConfigError, InputError
from relabel.records import PAIRS, Scale
from relabel.robustness import PERTURBATIONS
from relabel.robustness.variants import chosen_pairs, document_of, spread_rows, variant_id, variants
from relabel.storage import Folder
from relabel.tables import TableWriter


@pytest.fixture
def pairs(make_pairs):
    """Two queries, three documents each; one id has the separator in it, one document has nothing to shuffle."""
    texts = ("First sentence here. Second one there.", "short", "A third text stands here. It ends.")
    return make_pairs(
        [
            (f"q{query}", f"http://x/{number}#top", f"query {query}", f"{text}", float(number))
            for query in range(2)
            for number, text in enumerate(texts)
        ],
        source="human",
    )


def test_each_pair_stands_beside_its_variants(pairs):
    """Keys are unique, ids are read back though they contain the separator, originals keep their rows as they were."""
    made = variants(pairs, list(PERTURBATIONS), "3", seed=1)
    keys = list(zip(made["query_id"].to_pylist(), made["doc_id"].to_pylist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert made.schema.equals(PAIRS)
    rows = made.to_pylist()
    originals = [row | {"doc_id": document_of(row["doc_id"])[0]} for row in rows if row["doc_id"].endswith("#original")]
    assert originals == pairs.to_pylist()
    for row in rows:
        document, variant = document_of(row["doc_id"])
        assert document in pairs["doc_id"].to_pylist()
        if variant != "original":
            assert (row["label"], row["label_source"]) == (None, "perturbed")
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)


def test_what_a_perturbation_leaves_as_it_is_gets_no_row(pairs):
    """One word cannot be shuffled; small letters stay small; the others of that kind are there."""
    made = variants(pairs, ["shuffled-sentences", "lower-case"], "3", seed=1)
    found = Counter(document_of(name) for name in made["doc_id"].to_pylist())
    assert found["http://x/1#top", "shuffled-sentences"] == found["http://x/1#top", "lower-case"] == 0
    assert found["http://x/0#top", "shuffled-sentences"] == 2


def test_variants_depend_on_the_pair_and_the_seed_alone(pairs):
    """The order of the rows does not matter to a pair's variants; another seed gives others."""
    names = ["planted-start", "shuffled-sentences", "typos"]

    def texts(table, seed=1):
        return {row["query_id"] + row["doc_id"]: row["text"] for row in variants(table, names, "3", seed).to_pylist()}

    assert texts(pairs) == texts(pairs.take(list(range(5, -1, -1))))
    assert texts(pairs) != texts(pairs, seed=2)


def test_padding_is_taken_from_another_query(make_pairs):
    """The words around a padded document come from a document of another query; a single query has none."""
    rows = [
        ("q0", "a", "x", "alpha alpha", 0.0),
        ("q0", "b", "x", "beta beta", 1.0),
        ("q1", "c", "y", "gamma gamma", 1.0),
    ]
    made = {row["doc_id"]: row["text"] for row in variants(make_pairs(rows), ["padded"], "3", 0).to_pylist()}
    assert made["a#padded"] == "gamma\nalpha alpha\ngamma"
    assert made["c#padded"].split()[0] in ("alpha", "beta")
    assert "a#padded" not in variants(make_pairs(rows[:2]), ["padded"], "3", 0)["doc_id"].to_pylist()


def test_rows_are_spread_over_labels_and_queries():
    """Rare grades are taken whole, the others evenly; inside a grade each query gives about as many."""
    random = np.random.default_rng(0)
    labels = random.choice([0.0, 1.0, 2.0, 3.0, None], size=1000, p=[0.6, 0.2, 0.1, 0.005, 0.095]).tolist()
    queries = [f"q{number}" for number in np.sort(random.integers(0, 20, 1000))]
    documents = [f"d{number}" for number in range(1000)]
    rows = spread_rows(queries, documents, labels, 100, seed=3)
    assert rows.tolist() == sorted(set(rows.tolist()))
    counts = Counter(labels[row] for row in rows)
    assert counts[3.0] == labels.count(3.0)
    assert max(counts[label] for label in (0.0, 1.0, 2.0)) - min(counts[label] for label in (0.0, 1.0, 2.0)) <= 1
    zeros = Counter(queries[row] for row in rows if labels[row] == 0)
    assert len(zeros) == 20
    assert max(zeros.values()) - min(zeros.values()) <= 1
    assert len(spread_rows(queries, documents, labels, 5000, seed=3)) == 1000 - labels.count(None)
    assert spread_rows(queries, documents, labels, 100, seed=4).tolist() != rows.tolist()


def test_chosen_pairs_are_the_rows_of_the_table(tmp_path, pairs):
    """Rows come whole and in order out of several parts; a table without labels is refused."""
    folder = Folder(tmp_path / "pairs")
    writer = TableWriter(folder, "pairs", Scale((0, 1, 2), 1), part_rows=4)
    writer.write(pairs)
    writer.finish()
    assert chosen_pairs(folder, 100, 0).equals(pairs.combine_chunks())
    some = chosen_pairs(folder, 3, 0)
    assert sorted(some["label"].to_pylist()) == [0, 1, 2]
    assert set(map(str, some.to_pylist())) <= set(map(str, pairs.to_pylist()))
    bare = Folder(tmp_path / "bare")
    writer = TableWriter(bare, "pairs", Scale((0, 1, 2), 1))
    writer.write(variants(pairs, ["typos"], "3", 0).filter([False, True] * 6))
    writer.finish()
    with pytest.raises(InputError, match="no labelled pair; wanted pairs with labels"):
        chosen_pairs(bare, 3, 0)


def test_ids_are_read_back():
    """Only what stands behind the last separator is the variant."""
    assert variant_id("a#b", "typos") == "a#b#typos"
    assert document_of("a#b#typos") == ("a#b", "typos")


def test_an_unknown_perturbation_is_refused(pairs):
    """No table is made for a name that does not exist."""
    with pytest.raises(ConfigError, match="write 'typos'"):
        variants(pairs, ["typo"], "3", 0)
