"""Whole groups of graded documents, as labels and as pairs, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.graded_groups import GROUP, write_graded
from relabel.prompts import prompt_named
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole
from train.graded_examples import graded_examples


@pytest.mark.parametrize("kind", ["labels", "pairs"])
def test_groups_are_whole_and_the_same_every_time(kind, tmp_path, monkeypatch):
    """The demo's collection stands in where the human judgements are not there."""
    monkeypatch.setenv("RELABEL_DATA", str(tmp_path / "nowhere"))
    one, other = Folder(tmp_path / "one"), Folder(tmp_path / "other")
    assert [write_graded(folder, 20, kind) for folder in (one, other)] == ["the demo's collection"] * 2
    rows = read_whole(one, kind)
    assert rows.equals(read_whole(other, kind))
    assert rows.num_rows == 2 * GROUP
    assert len(rows["query"].unique()) == 2
    scale = read_manifest(one).scale
    labels = {"labels": [scale.degree(grade) for grade in scale.grades], "pairs": scale.grades}[kind]
    assert np.isin(rows["label"].to_numpy(), np.float32(labels)).all()


def test_a_judge_learns_the_pairs(tmp_path, monkeypatch):
    """What trains a judge takes each of them as a grade of its scale, as the benchmark of that training needs."""
    monkeypatch.setenv("RELABEL_DATA", str(tmp_path / "nowhere"))
    write_graded(Folder(tmp_path), 80, "pairs")
    examples = list(graded_examples(Folder(tmp_path), prompt_named("terse-0-3")))
    assert len(examples) == 80
    assert {example["lowest"] for example in examples} > {0, 3}
