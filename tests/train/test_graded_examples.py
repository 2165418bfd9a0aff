"""Graded examples for the judge: grades that fit the prompt, balance, limits, what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.errors import ConfigError, InputError
from relabel.prompts import PROMPTS
from relabel.records import Scale
from relabel.storage import Folder
from tests.train.tables import BINARY, fingerprints, read_epoch, topic_pairs, write_pairs
from train.graded_examples import balanced_keys, grade_indices, graded_examples, write_examples


def test_grades_of_pairs_and_prompt():
    """Grades become indices of the prompt's; a binary prompt takes the threshold; other sizes are refused."""
    graded = Scale((1, 2, 3, 4), relevant_from=3)
    assert grade_indices(np.array([1.0, 4.0]), graded, PROMPTS["terse-0-3"]).tolist() == [0, 3]
    assert grade_indices(np.array([2.0, 3.0]), graded, PROMPTS["binary"]).tolist() == [0, 1]
    with pytest.raises(ConfigError, match="4 grades for pairs with 2"):
        grade_indices(np.array([1.0]), BINARY, PROMPTS["terse-0-3"])


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
        balance=True,
        limit=40,
        epochs=2,
        batch=8,
        ranks=2,
        seed=0,
    )
    assert [epoch.rows for epoch in written.epochs] == [40, 40]
    assert sum(count for name, count in written.counts.items() if name.endswith("_used")) == 40
    assert sum(written.counts.values()) == 95
    texts = [set(read_epoch(out, epoch)["text"].to_pylist()) for epoch in (0, 1)]
    assert texts[0] != texts[1]
    by_text = {row["text"]: row["label"] for row in rows}
    assert all(by_text[row["text"]] == row["grade"] for row in read_epoch(out).to_pylist())
