"""Whole groups of graded documents, as labels and as pairs, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.graded_groups import GROUP, write_graded
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole


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
    degrees = np.float32([read_manifest(one).scale.degree(grade) for grade in range(4)])
    assert np.isin(rows["label"].to_numpy(), degrees).all()
