"""Graded examples for the judge: grades that fit the prompt, balance, limits, what is left out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from relabel.errors import ConfigError, InputError
from relabel.prompts import PROMPTS
from relabel.records import Scale
from relabel.robustness.augmentation import Augmentation
from relabel.storage import Folder
from tests.train.tables import BINARY, fingerprints, read_epoch, read_examples, topic_pairs, write_pairs
from train.graded_examples import (
    allowed_grades,
    balanced_keys,
    chosen_keys,
    graded_examples,
    kept_keys,
    limited,
    write_examples,
)
from train.shared_documents import DOCUMENTS


def characters(documents: pa.Table) -> list[int]:
    """What batches are cut by where a test does not care."""
    return [len(text) for text in documents["text"].to_pylist()]


def test_grades_of_pairs_and_prompt():
    """A grade allows itself; a binary prompt takes the threshold; a binary label allows a side; others are refused."""

    def allowed(labels, scale, prompt) -> list[tuple[int, int]]:
        lowest, highest = allowed_grades(np.array(labels), scale, PROMPTS[prompt])
        return list(zip(lowest.tolist(), highest.tolist(), strict=True))

    graded = Scale((1, 2, 3, 4), relevant_from=3)
    assert allowed([1.0, 4.0], graded, "terse-0-3") == [(0, 0), (3, 3)]
    assert allowed([2.0, 3.0], graded, "binary") == [(0, 0), (1, 1)]
    assert allowed([0.0, 1.0], BINARY, "terse-0-3") == [(0, 1), (2, 3)]
    with pytest.raises(ConfigError, match=r"4 grades for pairs with 3 .*wanted a prompt with as many grades"):
        allowed_grades(np.array([1.0]), Scale((0, 1, 2), relevant_from=1), PROMPTS["terse-0-3"])


def test_label_off_the_scale_is_refused(tmp_path):
    """A human label that is no grade of its table's scale is an error with its row."""
    rows = topic_pairs(queries=1, documents=2)
    rows[1]["label"] = 1.5
    write_pairs(Folder(tmp_path), rows)
    with pytest.raises(InputError, match=r"row 2: found label 1.5; wanted one of \[0, 1, 2, 3\]"):
        list(graded_examples(Folder(tmp_path), PROMPTS["terse-0-3"]))


def test_balance():
    """Each grade gives as many examples as the rarest; a very rare one does not throw the others away."""
    random = np.random.default_rng(0)

    def kept(counts: dict[int, int]) -> dict[int, int]:
        keys = {grade: random.integers(0, 2**63, count).astype(np.uint64) for grade, count in counts.items()}
        return {grade: int((keys[grade] <= last).sum()) for grade, last in balanced_keys(keys).items()}

    assert kept({0: 500, 1: 100, 2: 120, 3: 90}) == {0: 90, 1: 90, 2: 90, 3: 90}
    assert kept({0: 800, 1: 3}) == {0: 101, 1: 3}


def test_balance_within_queries_leaves_the_query_no_hint():
    """Grades are even within each query, however uneven over all; a query of one grade is left out; others keep all."""
    random = np.random.default_rng(1)
    counts = {("easy", 0): 10, ("easy", 3): 90, ("hard", 0): 95, ("hard", 3): 12, ("flat", 0): 50}
    keys = {place: random.integers(0, 2**63, count).astype(np.uint64) for place, count in counts.items()}

    def kept(balance: str) -> dict:
        last = kept_keys(keys, balance)
        return {place: int((keys[place] <= last[place]).sum()) if last[place] >= 0 else 0 for place in keys}

    within, over = kept("query"), kept("grade")
    assert within == {("easy", 0): 10, ("easy", 3): 13, ("hard", 0): 14, ("hard", 3): 12, ("flat", 0): 0}
    assert over["easy", 3] > 3 * over["easy", 0]
    assert sum(over[query, 0] for query in ("easy", "hard", "flat")) == sum(
        over[query, 3] for query in ("easy", "hard")
    )
    assert kept("natural") == counts


def test_a_limit_keeps_the_balance():
    """Half of the balanced examples, of every query as many of the rare grade as of the common one, within one."""
    random = np.random.default_rng(0)
    keys = {
        (f"q{query}", grade): random.integers(2**63, size=size).astype(np.uint64)
        for query in range(30)
        for grade, size in ((0, 10), (2, 60))
    }
    kept = limited(chosen_keys(keys, kept_keys(keys, "query")), 300, "query")
    counts = {place: int(np.sum(values <= kept[place])) if kept[place] >= 0 else 0 for place, values in keys.items()}
    assert sum(counts.values()) == 300
    assert set(counts.values()) <= {4, 5, 6}
    assert abs(sum(count for (_, grade), count in counts.items() if grade == 0) - 150) <= 10


def test_a_limit_over_grades_passes_over_queries_that_give_none():
    """Balanced over all queries, a query whose pairs of a grade have high keys gives none of it, with a limit, too."""
    keys = {("a", 0): np.array([1, 2], np.uint64), ("b", 0): np.array([8, 9], np.uint64),
            ("a", 2): np.array([5, 6], np.uint64)}  # fmt: skip
    chosen = chosen_keys(keys, kept_keys(keys, "grade"))
    assert set(chosen) == {("a", 0), ("a", 2)}
    kept = limited(chosen, 2, "grade")
    assert [int(np.sum(chosen[place] <= kept[place])) for place in chosen] == [1, 1]


def test_queries_of_one_grade_each_cannot_be_balanced(tmp_path):
    """Where every query has documents of one grade only, balance within queries is refused with what to set."""
    rows = [row | {"label": float(int(row["query_id"][1:]) % 4)} for row in topic_pairs(queries=8, documents=4)]
    write_pairs(Folder(tmp_path / "pairs"), rows)
    with pytest.raises(InputError, match=r"one grade only within each query.*set balance: grade"):
        write_examples(
            Folder(tmp_path / "pairs"),
            Folder(tmp_path / "out"),
            PROMPTS["terse-0-3"],
            fingerprints(rows),
            balance="query",
            limit=None,
            epochs=1,
            batch=4,
            ranks=1,
            seed=0,
            lengths=characters,
        )


def test_examples(tmp_path):
    """Each epoch draws anew; a limit is kept; null labels are no examples; counts say what was left out."""
    rows = topic_pairs(queries=12, documents=8)
    rows[0]["label"] = None
    pairs, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(pairs, rows)
    written = write_examples(
        pairs,
        out,
        PROMPTS["terse-0-3"],
        fingerprints(rows),
        balance="grade",
        limit=40,
        epochs=2,
        batch=8,
        ranks=2,
        seed=0,
        lengths=characters,
    )
    assert [epoch.rows for epoch in written.epochs] == [40, 40]
    assert sum(count for name, count in written.counts.items() if name.endswith("_used")) == 40
    assert sum(written.counts.values()) == 95
    texts = [set(read_epoch(out, epoch)["text"].to_pylist()) for epoch in (0, 1)]
    assert texts[0] != texts[1]
    by_text = {row["text"]: row["label"] for row in rows}
    assert all(by_text[row["text"]] == row["lowest"] == row["highest"] for row in read_examples(out))


def test_binary_labels_are_examples_of_a_graded_prompt(tmp_path):
    """Known answers train a judge of four grades: each example allows a side of the boundary, the counts say which."""
    rows = [row | {"label": float(row["label"] >= 2)} for row in topic_pairs(queries=12, documents=8)]
    pairs, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(pairs, rows, BINARY)
    options = {"balance": "query", "limit": None, "epochs": 1, "batch": 8, "ranks": 1, "seed": 0, "lengths": characters}
    written = write_examples(pairs, out, PROMPTS["terse-0-3"], fingerprints(rows), **options)
    assert set(written.counts) == {"grade_0-1_used", "grade_2-3_used"}
    assert {(row["lowest"], row["highest"]) for row in read_examples(out)} == {(0, 1), (2, 3)}


@pytest.mark.parametrize("others", [0, 2])
def test_perturbed_examples_keep_their_grade(tmp_path, others):
    """Augmentation changes texts of some documents and nothing else: the same pairs, their grades, the same counts."""
    rows = topic_pairs(queries=12, documents=8)
    pairs, grades = Folder(tmp_path / "pairs"), {row["text"]: row["label"] for row in rows}
    write_pairs(pairs, rows)
    options = {
        "balance": "natural",
        "limit": None,
        "epochs": 1,
        "batch": 8,
        "ranks": 1,
        "seed": 0,
        "lengths": characters,
        "other_queries": others,
    }
    written, read = [], []
    for name, augment in (("plain", Augmentation()), ("half", Augmentation(perturbations=["planted-end"], share=0.5))):
        out = Folder(tmp_path / name)
        written.append(write_examples(pairs, out, PROMPTS["terse-0-3"], fingerprints(rows), **options, augment=augment))
        read.append(read_examples(out))
    assert written[0].counts == written[1].counts
    assert {row["text"] for row in read[0]} <= set(grades)
    changed = [row for row in read[1] if row["text"] not in grades]
    assert 0.3 <= len(changed) / len(read[1]) <= 0.7
    own = {(row["query"], row["text"]) for row in rows}
    for row in read[1]:
        text = row["text"].partition("\n")[0]
        assert row["lowest"] == (grades[text] if (row["query"], text) in own else 0)
    assert sorted(row["query"] for row in read[0]) == sorted(row["query"] for row in read[1])


def test_batches_are_of_similar_length(tmp_path):
    """Batches are cut by the lengths that are given, so that padding to the longest costs little."""
    rows = topic_pairs(queries=16, documents=8)
    pairs, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(pairs, rows)
    tokens = {row["text"]: 40 + 7 * number % 101 for number, row in enumerate(rows)}
    options = {"balance": "natural", "limit": None, "epochs": 1, "batch": 8, "ranks": 1, "seed": 0}

    def lengths(some):
        return [tokens[text] for text in some["text"].to_pylist()]

    write_examples(pairs, out, PROMPTS["terse-0-3"], fingerprints(rows), **options, lengths=lengths)
    found = np.array([tokens[text] for text in read_epoch(out)["text"].to_pylist()]).reshape(-1, 8)
    assert found.size == len(rows)
    assert found.max(1).mean() < 1.12 * found.mean()
    assert np.random.default_rng(0).permutation(found.ravel()).reshape(-1, 8).max(1).mean() > 1.3 * found.mean()


def known_answers(queries: int = 24) -> list[dict]:
    """Binary pairs in which every document is one query's answer and the wrong one of two others."""
    rows = []
    for number in range(queries):
        for place, document in enumerate((number, (number + 5) % queries, (number + 11) % queries)):
            rows.append(
                {"query_id": f"q{number:02}", "doc_id": f"d{document:02}", "query": f"query {number}", "title": ""}
                | {"text": f"document {document}", "label": float(not place)}
            )
    return rows


def test_queries_of_a_document_come_together(tmp_path):
    """All pairs are there once, those of a document in one row, at most as many as asked; epochs differ in order."""
    rows = known_answers()
    pairs, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(pairs, rows, BINARY)
    options = {"balance": "natural", "limit": None, "batch": 4, "ranks": 1, "seed": 0, "lengths": characters}
    for most, texts in ((8, 24), (2, 48)):
        target = out / str(most)
        written = write_examples(
            pairs, target, PROMPTS["terse-0-3"], fingerprints(rows), **options, epochs=2, queries_per_document=most
        )
        assert [epoch.rows for epoch in written.epochs] == [texts, texts]
        found = read_epoch(target)
        assert set(found.column_names) == {*DOCUMENTS.names, "position"}
        assert max(map(len, found["queries"].to_pylist())) == min(most, 3)
        seen = [(row["query"], row["text"], row["lowest"]) for row in read_examples(target)]
        assert sorted(seen) == sorted((row["query"], row["text"], 2 * int(row["label"])) for row in rows)
        assert found["text"].to_pylist() != read_epoch(target, 1)["text"].to_pylist()


def test_a_limit_takes_whole_documents(tmp_path):
    """With several queries a document, a limit of pairs leaves out documents, not single queries of them."""
    rows = known_answers()
    pairs, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(pairs, rows, BINARY)
    options = {"balance": "natural", "limit": 30, "batch": 2, "ranks": 1, "seed": 0, "lengths": characters}
    write_examples(pairs, out, PROMPTS["terse-0-3"], fingerprints(rows), **options, epochs=1, queries_per_document=8)
    assert [len(queries) for queries in read_epoch(out)["queries"].to_pylist()] == [3] * 10


def test_other_queries_are_none_of_the_documents_own(tmp_path):
    """Each example gets training queries that no one labelled for its document, as lowest grade with their weight."""
    rows = known_answers()
    pairs, out = Folder(tmp_path / "pairs"), Folder(tmp_path / "out")
    write_pairs(pairs, rows, BINARY)
    train = fingerprints(rows) - fingerprints(rows[:3])
    options = {"balance": "natural", "limit": None, "batch": 4, "ranks": 1, "seed": 0, "lengths": characters}
    options |= {"epochs": 2, "other_queries": 4, "other_weight": 0.25}
    write_examples(pairs, out, PROMPTS["terse-0-3"], train, **options)
    labelled = {(row["query"], row["text"]) for row in rows}
    drawn = []
    for epoch in (0, 1):
        examples = read_examples(out, epoch)
        added = [row for row in examples if row["weight"] == 0.25]
        assert len(added) == 4 * (len(examples) - len(added))
        assert all(row["lowest"] == row["highest"] == 0 for row in added)
        assert not labelled & {(row["query"], row["text"]) for row in added}
        assert "query 0" not in {row["query"] for row in added}
        assert len({(row["document"], row["query"]) for row in examples}) == len(examples)
        drawn.append({(row["query"], row["text"]) for row in added})
    assert drawn[0] != drawn[1]
