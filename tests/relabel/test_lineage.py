"""Lineage: which queries a model has seen, however its folder is written."""

from __future__ import annotations

import pytest

from relabel.errors import CircularEvidence
from relabel.evidence.circularity import queries_seen_by
from relabel.lineage import queries_behind, query_fingerprint, seen_by_judge, trained_folder, write_queries_seen
from relabel.storage import Folder


def test_spelling_does_not_hide_a_query():
    """Case, white space and compatible characters do not change a fingerprint; other words do."""
    assert query_fingerprint("How  tall\tis IT?") == query_fingerprint("how tall is it?")
    assert query_fingerprint("ﬁx it") == query_fingerprint("fix it")
    assert query_fingerprint("fix it") != query_fingerprint("fix them")


def test_a_trained_model_is_known_by_its_folder(tmp_path, monkeypatch):
    """The training around a model is found from an absolute address, a relative one, and from inside its folder."""
    judge = Folder(tmp_path / "judge")
    judge.write_json("training.json", {})
    write_queries_seen(judge, ["aa"])
    (tmp_path / "judge" / "merged").mkdir()
    assert trained_folder(f"{judge.uri}/merged/").uri == judge.uri
    for place, name in ((tmp_path, "judge/merged"), (tmp_path / "judge", "merged")):
        monkeypatch.chdir(place)
        assert trained_folder(name).uri == judge.uri
        assert queries_behind(name) == {"aa"}


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "/", "models/other"])
def test_other_models_have_seen_nothing(tmp_path, monkeypatch, name):
    """A package model, a root and a folder that no training wrote have no lineage."""
    monkeypatch.chdir(tmp_path)
    assert trained_folder(name) is None
    assert queries_behind(name) == set()


def test_a_judge_has_seen_its_training_and_its_examples(tmp_path):
    """What a judge has seen are the queries of its folder and those that its prompt shows; labels pass both on."""
    write_queries_seen(Folder(tmp_path), ["a1", "b2"])
    assert seen_by_judge({"judge_folder": str(tmp_path), "example_queries": ["c3"]}) == {"a1", "b2", "c3"}
    assert seen_by_judge({"judge_folder": None, "example_queries": None}) == set()
    example = query_fingerprint("how tall is it")
    assert queries_seen_by({"example_queries": [example]}, ["How tall  is it", "why"], "pairs") == {"How tall  is it"}
    with pytest.raises(CircularEvidence, match=r"only queries that the judge was trained on \(1\)"):
        queries_seen_by({"example_queries": [example]}, ["how tall is it"], "pairs")
