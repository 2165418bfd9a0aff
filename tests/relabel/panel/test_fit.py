"""A panel is fitted on human grades that no member has seen, says what its members are worth, and is a judge itself."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from jobs.judge import engines_of, facts_of, resolve, shard_rows
from jobs.recipe import load_recipe
from jobs.run_guards import check_models
from relabel.agreement.measure_judge import measure_judge
from relabel.errors import CircularEvidence, ConfigError, InputError
from relabel.judges import JudgeConfig, load_judge
from relabel.judges.config import judge_scale
from relabel.judges.identity import judge_id
from relabel.lineage import query_fingerprint, read_queries_seen, write_queries_seen
from relabel.panel.fit import FitPanelConfig, fit_panel
from relabel.panel.record import member_features, read_panel
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole
from tests.relabel.panel.judged import SCALE, human_pairs, judged_by, write_table
from tests.train.encoders import tiny_encoder

BINARY = Scale((0, 1), relevant_from=1)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Human pairs, judgements by BM25 and by word coverage, on disk."""
    base = tmp_path_factory.mktemp("panel")
    pairs = human_pairs()
    human = write_table(base / "human", "pairs", pairs)
    bm25 = judged_by(JudgeConfig(engine="bm25", collection=human.uri), pairs, base / "bm25")
    lexical = judged_by(JudgeConfig(engine="lexical", prompt="binary"), pairs, base / "lexical")
    return base, human, bm25, lexical


@pytest.fixture(scope="module")
def panel(tables):
    """A panel of both, fitted."""
    base, human, bm25, lexical = tables
    lines: list[str] = []
    config = FitPanelConfig(judgements=[bm25.uri, lexical.uri], human=human.uri, folds=5, resamples=100)
    record = fit_panel(config, Folder(base / "fitted"), lines.append)
    return Folder(base / "fitted"), record, lines


def test_a_panel_is_measured_with_and_without_each_member(panel):
    """Own and cross-fitted measures of both members, the panel without them, and sentences with the numbers."""
    folder, record, lines = panel
    found = record.measures
    assert [member["name"] for member in found["members"]] == ["bm25", "lexical"]
    assert found["panel"]["auc"]["value"] > 0.8
    assert found["panel"]["log_loss"]["value"] < found["members"][0]["own"]["log_loss"]["value"]
    assert "log_loss" not in found["members"][1]["own"], "two grades have no log-loss on four"
    for member in found["members"]:
        difference = member["panel_less_without"]["auc"]
        assert difference["low"] <= difference["value"] <= difference["high"]
    assert found["panel"]["calibration_error"]["value"] < 0.1
    assert read_panel(folder) == record
    text = "\n".join(lines)
    for words in ("600 pairs of 30 queries", "bm25: AUC(≥2)", "the panel, cross-fitted: AUC(≥2)", "its best member"):
        assert words in text


def test_the_cross_fitted_table_is_judgements_that_agreement_can_measure(panel, tables):
    """It holds every human pair under the panel's id, and its agreement is that which the panel reports."""
    folder, record, _ = panel
    _, human, _, _ = tables
    table = read_whole(folder / "cross_fitted", "judgements")
    manifest = read_manifest(folder / "cross_fitted", "judgements")
    assert table.num_rows == 600
    assert set(table["judge_id"].to_pylist()) == {record.panel_id} == {manifest.about["judge_id"]}
    measured = measure_judge(folder / "cross_fitted", human, folder / "agreement", resamples=100, log=lambda line: None)
    assert measured["auc"]["2"]["pooled"]["value"] == pytest.approx(record.measures["panel"]["auc"]["value"], abs=1e-4)
    assert measured["kappa"]["quadratic"]["value"] == pytest.approx(
        record.measures["panel"]["quadratic_kappa"]["value"], abs=1e-4
    )


def test_a_panel_judges_like_any_judge(panel, tables):
    """Loaded by its folder it gives the ordinal model of its members' judgements, on the human scale, under its id; on
    the queries that it was fitted on agreement refuses it."""
    folder, record, _ = panel
    base, human, bm25, lexical = tables
    config = JudgeConfig(engine="panel", model=folder.uri, prompt="binary")
    assert resolve(config) == ("none", record.panel_id)
    assert judge_scale(config) == SCALE
    assert (engines_of(config), shard_rows(config)[1]) == ({"bm25", "lexical"}, "no model")
    pairs = read_whole(human, "pairs")
    judged = load_judge(config).judge(pairs, "x:0").judgements
    features = [
        member_features(np.array(read_whole(one, "judgements")["probabilities"].to_pylist()), "thresholds")
        for one in (bm25, lexical)
    ]
    eta = np.hstack(features) @ np.concatenate(record.weights)
    at_least = 1 / (1 + np.exp(-(eta[:, None] + record.thresholds)))
    np.testing.assert_allclose(judged["score"], at_least.sum(axis=1), atol=1e-4)
    assert judged["grade"].to_pylist() == np.sum(at_least > 0.5, axis=1).tolist(), "the median"
    assert np.max(judged["off_label_mass"]) < 1e-5
    about = facts_of(config, record.panel_id, "none")
    own = write_table(base / "own", "judgements", judged, about)
    with pytest.raises(CircularEvidence, match="only queries that the judge was trained on"):
        measure_judge(own, human, base, resamples=100)
    assert len(read_queries_seen(folder)) == 30


def test_a_pair_that_one_member_cannot_judge_is_quarantined_with_its_reason(panel, tables):
    """An empty text goes to quarantine naming the member; the pairs around it are judged as they are alone."""
    folder, _, _ = panel
    pairs = read_whole(tables[1], "pairs").slice(0, 5)
    empty = pairs.to_pylist()
    empty[2]["text"] = " "
    judge = load_judge(JudgeConfig(engine="panel", model=folder.uri))
    found = judge.judge(pa.Table.from_pylist(empty, schema=pairs.schema), "part-00000.parquet:10")
    assert found.judgements["doc_id"].to_pylist() == ["d0-0", "d0-1", "d0-3", "d0-4"]
    (row,) = found.quarantined.to_pylist()
    assert (row["doc_id"], row["reason"], row["source"]) == ("d0-2", "empty-text", "part-00000.parquet:12")
    assert row["detail"].startswith("bm25: title and text have no characters")
    whole = judge.judge(pairs, "x:0").judgements.take([0, 1, 3, 4])
    np.testing.assert_allclose(found.judgements["score"], whole["score"], atol=1e-6)


def test_judging_nothing_gives_nothing(panel, tables):
    """A shard whose pairs are all unjudgeable, or that has none, gives empty tables."""
    judge = load_judge(JudgeConfig(engine="panel", model=panel[0].uri))
    found = judge.judge(read_whole(tables[1], "pairs").slice(0, 0), "x:0")
    assert (found.judgements.num_rows, found.quarantined.num_rows, found.tokens) == (0, 0, 0)


def test_one_member_is_a_fitted_map_of_its_score(tables, tmp_path):
    """A panel of one keeps the order of the member's score and has a far smaller log-loss than the declared map."""
    _, human, bm25, _ = tables
    config = FitPanelConfig(judgements=[bm25.uri], human=human.uri, features="degree", folds=5, resamples=100)
    record = fit_panel(config, Folder(tmp_path), lambda line: None)
    member = record.measures["members"][0]
    assert member["panel_less_without"] is None
    assert record.measures["panel"]["log_loss"]["value"] < member["own"]["log_loss"]["value"] - 0.05
    judged = load_judge(JudgeConfig(engine="panel", model=str(tmp_path))).judge(read_whole(human, "pairs"), "x:0")
    ours, theirs = np.array(judged.judgements["score"]), np.array(read_whole(bm25, "judgements")["score"])
    order = np.argsort(theirs, kind="stable")
    assert (np.diff(ours[order]) >= -1e-5).all()
    assert np.corrcoef(ours, theirs)[0, 1] > 0.5


def test_pairs_that_a_member_lacks_or_has_seen_are_left_out_and_counted(tables, tmp_path):
    """The fit is on what all members judged, without the queries that a trained member saw."""
    _, human, bm25, _ = tables
    pairs = read_whole(human, "pairs")
    write_queries_seen(Folder(tmp_path / "judge"), [query_fingerprint(pairs["query"][0].as_py())])
    short = judged_by(JudgeConfig(engine="lexical"), pairs.slice(0, 590), tmp_path / "short", str(tmp_path / "judge"))
    config = FitPanelConfig(judgements=[bm25.uri, short.uri], human=human.uri, folds=5, resamples=100, l2=0.01)
    record = fit_panel(config, Folder(tmp_path / "out"), lambda line: None)
    assert record.fit["left_out"] == {"pairs_of_seen_queries": 20, "not_judged_by_bm25": 0, "not_judged_by_short": 10}
    assert (record.fit["pairs"], record.fit["queries"], record.fit["l2"]) == (570, 29, 0.01)
    assert len(read_queries_seen(Folder(tmp_path / "out"))) == 30


def test_evidence_that_proves_nothing_is_refused(tables, tmp_path):
    """Labels by a judge, queries that were all seen, another table's judgements, too few queries: one error each."""
    _, human, bm25, lexical = tables
    pairs = read_whole(human, "pairs")
    place = pairs.schema.get_field_index("label_source")
    source = pa.array(["judge:x"] * 600, pa.string())
    by_judge = write_table(tmp_path / "by_judge", "pairs", pairs.set_column(place, pairs.schema.field(place), source))
    quiet = {"resamples": 100, "folds": 5}
    with pytest.raises(CircularEvidence, match=r"600 labels made by a judge"):
        fit_panel(FitPanelConfig(judgements=[bm25.uri], human=by_judge.uri, **quiet), Folder(tmp_path / "o"))
    write_queries_seen(Folder(tmp_path / "judge"), map(query_fingerprint, set(pairs["query"].to_pylist())))
    seen = judged_by(JudgeConfig(engine="lexical"), pairs, tmp_path / "seen", str(tmp_path / "judge"))
    with pytest.raises(CircularEvidence, match=r"only queries that a member was trained on \(30\)"):
        fit_panel(FitPanelConfig(judgements=[bm25.uri, seen.uri], human=human.uri, **quiet), Folder(tmp_path / "o"))
    few = write_table(tmp_path / "few", "pairs", pairs.slice(0, 80))
    with pytest.raises(InputError, match="found 4 queries that all members judged; wanted at least 5"):
        fit_panel(FitPanelConfig(judgements=[bm25.uri], human=few.uri, **quiet), Folder(tmp_path / "o"))
    others = write_table(tmp_path / "others", "pairs", human_pairs(seed=5).slice(0, 0))
    with pytest.raises(InputError, match="found a table of pairs; wanted a table of judgements"):
        fit_panel(FitPanelConfig(judgements=[others.uri], human=human.uri, **quiet), Folder(tmp_path / "o"))
    twice = judged_by(JudgeConfig(engine="lexical"), pairs.slice(0, 40), tmp_path / "again" / "lexical")
    with pytest.raises(ConfigError, match="two tables named 'lexical'"):
        fit_panel(FitPanelConfig(judgements=[lexical.uri, twice.uri], human=human.uri, **quiet), Folder(tmp_path / "o"))
    same = pa.array([1.0] * 600, pa.float32())
    place = pairs.schema.get_field_index("label")
    flat = write_table(tmp_path / "flat", "pairs", pairs.set_column(place, pairs.schema.field(place), same))
    with pytest.raises(InputError, match="found only relevant or only other pairs"):
        fit_panel(FitPanelConfig(judgements=[bm25.uri], human=flat.uri, **quiet), Folder(tmp_path / "o"))
    lost = judged_by(JudgeConfig(engine="lexical"), pairs, tmp_path / "lost", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"no queries_seen.parquet of a trained member"):
        fit_panel(FitPanelConfig(judgements=[lost.uri], human=human.uri, **quiet), Folder(tmp_path / "o"))
    assert not Folder(tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"weights": [[1.0, 2.0, 3.0], [4.0]]}, r"panel_id: found 'panel-.*for content that gives"),
        ({"weights": [[1.0], [2.0]]}, r"wanted 3 thresholds, and \[3, 1\] weights"),
        ({"thresholds": [1.0, 2.0, 3.0]}, "wanted falling thresholds"),
        ({"thresholds": [float("nan"), 0.0, -1.0]}, "wanted finite coefficients"),
        ({"featuers": "degree"}, "the unknown key 'featuers'.*write 'features'"),
        ({"members": []}, "members: found"),
        ({"version": 2}, "version: found 2"),
    ],
)
def test_a_panel_file_that_was_changed_is_refused(damage, message, panel, tmp_path):
    """A file with other content than its id's, or that is no panel at all, is refused by name."""
    values = panel[0].read_json("panel.json") | damage
    (tmp_path / "panel.json").write_text(json.dumps(values))
    with pytest.raises((ConfigError, InputError), match=message):
        read_panel(Folder(tmp_path))


def test_a_member_that_is_another_judge_here_is_refused(panel, tables, tmp_path):
    """Statistics that changed under a member's address are found before anything is judged, on driver and in actor."""
    human = tables[1]
    moved = write_table(tmp_path / "collection", "pairs", read_whole(human, "pairs"))
    pairs = read_whole(human, "pairs")
    own = judged_by(JudgeConfig(engine="bm25", collection=moved.uri), pairs, tmp_path / "bm25")
    config = FitPanelConfig(judgements=[own.uri], human=human.uri, folds=5, resamples=100, l2=0.01)
    fit_panel(config, Folder(tmp_path / "fitted"), lambda line: None)
    loaded = JudgeConfig(engine="panel", model=str(tmp_path / "fitted"))
    assert judge_id(loaded, "none").startswith("panel-")
    other = write_table(tmp_path / "other", "pairs", pairs.slice(0, 100))
    values = json.loads((tmp_path / "fitted" / "panel.json").read_text())
    values["members"][0]["config"]["collection"] = other.uri
    (tmp_path / "fitted" / "panel.json").write_text(json.dumps(values))
    for check in (resolve, load_judge):
        with pytest.raises(InputError, match=r"panel member 'bm25': found the judge bm25-\w+ \(other model files"):
            check(loaded)
    values["members"][0]["config"] = None
    (tmp_path / "fitted" / "panel.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"no keys to make this judge again.*judge the human pairs again"):
        load_judge(loaded)
    with pytest.raises(InputError, match=r"no panel.json"):
        load_judge(loaded.model_copy(update={"model": str(tmp_path / "nowhere")}))


def test_features_are_log_odds_of_thresholds_or_of_the_expected_degree():
    """Hand-computed: (0.1, 0.2, 0.3, 0.4) has P(≥1) = 0.9, P(≥2) = 0.7, P(≥3) = 0.4 and the expected degree 2/3; a
    certain answer stays finite."""
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    thresholds = member_features(probabilities, "thresholds")
    np.testing.assert_allclose(thresholds[0], np.log([9, 7 / 3, 2 / 3]))
    np.testing.assert_allclose(member_features(probabilities, "degree")[0], np.log([2]))
    assert np.isfinite(thresholds).all()
    assert (thresholds[1] < -13).all()


def test_a_recipe_can_judge_with_a_panel(panel, tmp_path):
    """Its models are those of its members; a folder that is no panel is refused before anything is done."""
    model = str(tiny_encoder(tmp_path / "encoder", "mean_tokens"))
    given = ["judge.engine=panel", "judge_training=null", f"reranker.model={model}", f"evaluate.zero_shot={model}"]
    check_models(load_recipe("demo", [*given, f"judge.model={panel[0].uri}"]))
    with pytest.raises(InputError, match=r"no panel.json"):
        check_models(load_recipe("demo", [*given, f"judge.model={tmp_path}"]))
