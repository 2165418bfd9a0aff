"""The adjustment rules: what each decides on hand-made rows, and what holds for all of them on random tables."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.errors import ConfigError
from relabel.labels import RULES, Evidence, adjust_rows, load_rule
from relabel.labels.adjust import decide
from relabel.labels.drop_uncertain import normalised_entropy
from relabel.records import LABELS
from tests.relabel.labels.cases import BINARY, FROM_ONE, GRADED, make_judgements, make_pairs, random_case

SETTINGS = [
    {"rule": "keep"},
    {"rule": "replace"},
    {"rule": "replace", "use": "argmax"},
    {"rule": "promote-negatives", "threshold": 0.3},
    {"rule": "promote-negatives", "include_unlabelled": False},
    {"rule": "demote-positives", "threshold": 0.3},
    {"rule": "drop-uncertain", "max_entropy": 0.5},
    {"rule": "drop-uncertain", "max_entropy": None, "min_probability": 0.6, "contradiction": None},
    {"rule": "blend"},
    {"rule": "blend", "alpha": 0.0, "unjudged_weight": 0.25},
    {"rule": "at-precision", "learned": True},
    {"rule": "at-precision", "learned": True, "promote_from": 0.6, "demote_from": 0.7},
]


@pytest.fixture(params=range(12))
def case(request):
    """(pairs, judgements, pairs scale, judge scale) of twelve seeds; unlabelled and unjudged shares differ."""
    return random_case(request.param)


@pytest.fixture(params=SETTINGS, ids=lambda values: "-".join(str(value) for value in values.values()))
def rule(request):
    """Every rule, some with two settings."""
    return load_rule(request.param)


def evidence(original, probabilities, original_scale=GRADED, judge_scale=GRADED) -> Evidence:
    """Original degrees (None = unlabelled) and distributions (None = unjudged) as columns."""
    rows = [np.full(len(judge_scale.grades), np.nan) if p is None else p for p in probabilities]
    p = np.array(rows, float)
    degrees = judge_scale.degree(np.array(judge_scale.grades, float))
    return Evidence(
        original=np.array([np.nan if value is None else value for value in original], float),
        probabilities=p,
        degree=p @ degrees,
        judged=~np.isnan(p[:, 0]),
        original_scale=original_scale,
        judge_scale=judge_scale,
    )


def outcome(values: dict, given: Evidence) -> list[tuple]:
    """(label or None, weight, action word) a row."""
    decision = decide(load_rule(values), given)
    from relabel.labels import Action

    return [
        (None if np.isnan(label) else round(float(label), 6), float(weight), Action(int(action)).word)
        for label, weight, action in zip(decision.label, decision.weight, decision.action, strict=True)
    ]


SURE_3, SURE_0, FLAT = [0.0, 0.0, 0.1, 0.9], [0.9, 0.1, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]


def test_all_six_rules_are_registered_under_their_own_name():
    """The registry holds the six rules by the names of the command line."""
    names = ["keep", "replace", "promote-negatives", "demote-positives", "drop-uncertain", "blend", "at-precision"]
    assert list(RULES) == names
    assert all(RULES[name].name == name for name in RULES)


def test_keep_keeps():
    """Originals stay with weight 1; an unlabelled pair stays unlabelled with weight 0; an unjudged one is named."""
    rows = outcome({"rule": "keep"}, evidence([0, 1, None, 1], [SURE_3, SURE_0, SURE_3, None], BINARY))
    assert rows == [(0.0, 1.0, "kept"), (1.0, 1.0, "kept"), (None, 0.0, "kept"), (1.0, 1.0, "unjudged")]


def test_replace_takes_the_expected_degree():
    """The label is Σ p·degree: 0.1·2/3 + 0.9·1, 0.1·1/3, 0.5; an unlabelled pair is labelled."""
    rows = outcome({"rule": "replace"}, evidence([0, 1, None, 1], [SURE_3, SURE_0, FLAT, None]))
    assert rows == [
        (0.966667, 1.0, "replaced"),
        (0.033333, 1.0, "replaced"),
        (0.5, 1.0, "labelled"),
        (1.0, 1.0, "unjudged"),
    ]


def test_replace_can_take_the_likeliest_grade():
    """argmax gives the degree of the most probable grade, the lower of two; where that is the original it is kept."""
    rows = outcome(
        {"rule": "replace", "use": "argmax"}, evidence([0, 0, 1 / 3], [SURE_3, SURE_0, [0.1, 0.4, 0.4, 0.1]])
    )
    assert rows == [(1.0, 1.0, "replaced"), (0.0, 1.0, "kept"), (0.333333, 1.0, "kept")]


def test_promotion_needs_a_negative_and_a_sure_judge():
    """Only negatives (and unlabelled pairs) with P(grade ≥ 2) ≥ threshold change; on a binary scale they become 1."""
    p = [[0.2, 0.0, 0.4, 0.4], [0.4, 0.0, 0.3, 0.3], SURE_0, [0.2, 0.0, 0.4, 0.4], FLAT]
    rows = outcome({"rule": "promote-negatives", "threshold": 0.8}, evidence([0, 0, 1, None, None], p, BINARY))
    assert rows == [
        (1.0, 1.0, "promoted"),
        (0.0, 1.0, "kept"),
        (1.0, 1.0, "kept"),
        (1.0, 1.0, "promoted"),
        (None, 0.0, "kept"),
    ]


def test_promotion_on_a_graded_scale_reaches_at_least_the_lowest_relevant_grade():
    """A promoted pair gets the judge's expected degree, but at least 2/3 where grade 2 of 0–3 is relevant."""
    p = [[0.0, 0.1, 0.0, 0.9], [0.3, 0.0, 0.7, 0.0]]
    rows = outcome({"rule": "promote-negatives"}, evidence([1 / 3, 0], p))
    assert rows == [(0.933333, 1.0, "promoted"), (0.666667, 1.0, "promoted")]


def test_promotion_can_leave_unlabelled_pairs_alone():
    """With include_unlabelled off, pairs without a label stay without one."""
    rows = outcome({"rule": "promote-negatives", "include_unlabelled": False}, evidence([None], [SURE_3]))
    assert rows == [(None, 0.0, "kept")]


def test_demotion_needs_a_positive_and_a_sure_judge():
    """Only positives with P(grade < 2) ≥ threshold change; unlabelled pairs never; on a binary scale they become 0."""
    p = [SURE_0, [0.3, 0.3, 0.2, 0.2], SURE_0, SURE_0]
    rows = outcome({"rule": "demote-positives"}, evidence([1, 1, 0, None], p, BINARY))
    assert rows == [(0.0, 1.0, "demoted"), (1.0, 1.0, "kept"), (0.0, 1.0, "kept"), (None, 0.0, "kept")]


def test_demotion_on_a_graded_scale_stays_below_the_relevant_grades():
    """A demoted pair gets the judge's expected degree, but at most 1/3 where grade 2 of 0–3 is relevant."""
    p = [SURE_0, [0.0, 0.7, 0.0, 0.3]]
    rows = outcome({"rule": "demote-positives"}, evidence([1, 2 / 3], p))
    assert rows == [(0.033333, 1.0, "demoted"), (0.333333, 1.0, "demoted")]


def test_dropping_keeps_the_label_and_takes_the_weight():
    """A flat distribution is uncertain, a sure opposite contradicts; unlabelled pairs have nothing to drop."""
    p = [FLAT, SURE_3, SURE_0, SURE_3, FLAT]
    rows = outcome({"rule": "drop-uncertain"}, evidence([1, 0, 1, 1, None], p))
    assert rows == [
        (1.0, 0.0, "dropped-uncertain"),
        (0.0, 0.0, "dropped-contradicted"),
        (1.0, 0.0, "dropped-contradicted"),
        (1.0, 1.0, "kept"),
        (None, 0.0, "kept"),
    ]


def test_each_criterion_of_dropping_can_be_off():
    """With all criteria null nothing is dropped; min_probability alone drops by the peak."""
    off = {"rule": "drop-uncertain", "max_entropy": None, "contradiction": None}
    given = evidence([1, 0], [[0.4, 0.3, 0.2, 0.1], SURE_3])
    assert [row[2] for row in outcome(off, given)] == ["kept", "kept"]
    assert [row[2] for row in outcome(off | {"min_probability": 0.5}, given)] == ["dropped-uncertain", "kept"]


def test_entropy_is_a_share_of_the_uniform_entropy():
    """Certainty is 0, uniform is 1, half-half over four grades is ln 2 / ln 4."""
    p = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert normalised_entropy(p) == pytest.approx([0, 1, 0.5])


def test_blend_is_between_original_and_judge():
    """(1 − α)·original + α·judge, and the judge alone for an unlabelled pair, across different scales."""
    p = [[0, 0, 0, 1.0], [0, 1.0, 0, 0], [1.0, 0, 0, 0]]
    rows = outcome({"rule": "blend", "alpha": 0.25}, evidence([0, None, 1], p, BINARY, FROM_ONE))
    assert rows == [(0.25, 1.0, "blended"), (0.333333, 1.0, "labelled"), (0.75, 1.0, "blended")]


def test_the_weight_of_unjudged_pairs_is_the_rules():
    """unjudged_weight is given to pairs that the judge could not grade and that have a label."""
    given = evidence([1, None], [None, None])
    assert outcome({"rule": "replace", "unjudged_weight": 0.5}, given) == [
        (1.0, 0.5, "unjudged"),
        (None, 0.0, "unjudged"),
    ]


def degrees(table, scale):
    """(original degree, new degree), float64 [n] each, NaN for none."""
    before = scale.degree(table["original_label"].to_numpy().astype(float))
    return before, table["label"].to_numpy().astype(float)


def test_every_row_leaves_once_with_its_history(case, rule):
    """Rows, order, keys, texts and originals are those of the pairs; grade and probabilities those of the judge."""
    pairs, judgements, pairs_scale, judge_scale = case
    table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, rule, "j1")
    assert table.schema == LABELS
    for name in ("query_id", "doc_id", "query", "title", "text"):
        assert table[name].equals(pairs[name])
    assert table["original_label"].equals(pairs["label"])
    assert table["original_source"].equals(pairs["label_source"])
    judged = table.filter(table["judge_grade"].is_valid())
    assert judged["doc_id"].to_pylist() == judgements["doc_id"].to_pylist()
    assert judged["judge_probabilities"].to_pylist() == judgements["probabilities"].to_pylist()
    assert judged["judge_score"].to_pylist() == judgements["score"].to_pylist()
    unjudged = table.filter(table["judge_grade"].is_null())
    assert set(unjudged["action"].to_pylist()) == {"unjudged"}
    assert set(table["rule"].to_pylist()) == {rule.name}


def test_labels_and_weights_stay_in_range(case, rule):
    """Labels are in [0, 1] or null, weights in [0, 1], and a pair without a label weighs nothing."""
    pairs, judgements, pairs_scale, judge_scale = case
    table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, rule, "j1")
    label, weight = table["label"].drop_null().to_numpy(), table["weight"].to_numpy()
    assert not np.isnan(label).any()
    assert ((label >= 0) & (label <= 1)).all()
    assert ((weight >= 0) & (weight <= 1)).all()
    assert (weight[table["label"].is_null().to_numpy()] == 0).all()


def test_the_order_of_rows_does_not_matter(case, rule):
    """Shuffled pairs and shuffled judgements give the same labels, shuffled."""
    pairs, judgements, pairs_scale, judge_scale = case
    table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, rule, "j1")
    rng = np.random.default_rng(5)
    order = rng.permutation(pairs.num_rows)
    shuffled = judgements.take(rng.permutation(judgements.num_rows))
    assert adjust_rows(pairs.take(order), shuffled, pairs_scale, judge_scale, rule, "j1").equals(table.take(order))


def test_cutting_into_shards_does_not_matter(case, rule):
    """Shards adjusted one by one are the slices of the whole."""
    pairs, judgements, pairs_scale, judge_scale = case
    table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, rule, "j1")
    ids = set(pairs["doc_id"].slice(0, 100).to_pylist())
    own = judgements.filter([doc in ids for doc in judgements["doc_id"].to_pylist()])
    shard = adjust_rows(pairs.slice(0, 100), own, pairs_scale, judge_scale, rule, "j1")
    assert shard.equals(table.slice(0, 100))


def test_inputs_are_not_changed(case, rule):
    """A rule reads its evidence; the arrays it was given stay as they were."""
    pairs, judgements, pairs_scale, judge_scale = case
    before = pairs.to_pylist(), judgements.to_pylist()
    adjust_rows(pairs, judgements, pairs_scale, judge_scale, rule, "j1")
    assert (pairs.to_pylist(), judgements.to_pylist()) == before


def test_keep_is_the_identity(case):
    """New degrees equal original degrees, nulls included, and every labelled pair weighs 1."""
    pairs, judgements, pairs_scale, judge_scale = case
    table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, load_rule({"rule": "keep"}), "j1")
    before, after = degrees(table, pairs_scale)
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert table["weight"].to_numpy().tolist() == (~np.isnan(before)).astype(float).tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_promotion_never_lowers_and_demotion_never_raises(case, threshold):
    """Whatever the threshold, promote-negatives only moves up, demote-positives only down, as their actions say."""
    pairs, judgements, pairs_scale, judge_scale = case
    for name, sign, word in (("promote-negatives", 1, "promoted"), ("demote-positives", -1, "demoted")):
        rule = load_rule({"rule": name, "threshold": threshold})
        table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, rule, "j1")
        before, after = degrees(table, pairs_scale)
        had = ~np.isnan(before)
        assert (sign * (after[had] - before[had]) >= -1e-6).all()
        moved = (np.abs(after - before) > 1e-6) | (~had & ~np.isnan(after))
        assert (moved == (np.array(table["action"].to_pylist()) == word)).all()


def test_a_higher_threshold_changes_fewer_labels(case):
    """The pairs promoted at 0.9 are among those promoted at 0.5; demotion and dropping behave alike."""
    pairs, judgements, pairs_scale, judge_scale = case
    for name, parameter in (
        ("promote-negatives", "threshold"),
        ("demote-positives", "threshold"),
        ("drop-uncertain", "contradiction"),
    ):
        acted = []
        for value in (0.5, 0.9):
            values = {"rule": name, parameter: value} | ({"max_entropy": None} if name == "drop-uncertain" else {})
            table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, load_rule(values), "j1")
            acted.append(~np.isin(table["action"].to_pylist(), ["kept", "unjudged"]))
        assert not (acted[1] & ~acted[0]).any()
        assert acted[0].any() or pairs["label"].null_count == pairs.num_rows


def test_blend_spans_keep_and_replace(case):
    """α = 0 gives keep's labels for labelled pairs, α = 1 replace's for all."""
    pairs, judgements, pairs_scale, judge_scale = case

    def labels(values):
        table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, load_rule(values), "j1")
        return degrees(table, pairs_scale)

    original, none = labels({"rule": "blend", "alpha": 0})
    np.testing.assert_allclose(none[~np.isnan(original)], original[~np.isnan(original)], atol=1e-6)
    np.testing.assert_array_equal(labels({"rule": "blend", "alpha": 1})[1], labels({"rule": "replace"})[1])


def test_a_shard_that_was_quarantined_whole_keeps_its_labels(rule):
    """Pairs without a single judgement leave unjudged, with their originals."""
    pairs = make_pairs([0, 1, None])
    table = adjust_rows(pairs, make_judgements(pairs, [None] * 3, GRADED), BINARY, GRADED, rule, "j1")
    assert table["label"].to_pylist() == [0, 1, None]
    assert table["action"].to_pylist() == ["unjudged"] * 3
    assert table["judge_id"].to_pylist() == [None] * 3


def test_an_empty_shard_stays_empty(rule):
    """No pairs give no labels, with the right columns."""
    pairs = make_pairs([])
    table = adjust_rows(pairs, make_judgements(pairs, [], GRADED), BINARY, GRADED, rule, "j1")
    assert (table.num_rows, table.schema) == (0, LABELS)


def test_at_precision_changes_only_over_its_thresholds():
    """Negatives and unlabelled pairs are promoted from one threshold on, positives demoted from the other on."""
    sure, unsure, against = [0.0, 0.1, 0.3, 0.6], [0.1, 0.3, 0.3, 0.3], [0.8, 0.1, 0.1, 0.0]
    given = evidence([0.0, None, 0.0, 1.0, 1.0], [sure, sure, unsure, against, unsure])
    values = {"rule": "at-precision", "learned": True, "promote_from": 0.9, "demote_from": 0.9}
    words = [row[2] for row in outcome(values, given)]
    assert words == ["promoted", "promoted", "kept", "demoted", "kept"]
    assert [row[2] for row in outcome(values | {"promote_from": None, "demote_from": 0.95}, given)] == ["kept"] * 5
    assert outcome(values | {"include_unlabelled": False}, given)[1] == (None, 0.0, "kept")


def test_at_precision_does_nothing_before_it_has_learned():
    """Without thresholds from human grades the rule refuses, and says where they come from."""
    with pytest.raises(ConfigError, match=r"no thresholds; wanted human grades .*--human and --human-judgements"):
        decide(load_rule({"rule": "at-precision"}), evidence([0.0], [[0.25] * 4]))
