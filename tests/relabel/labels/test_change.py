"""The change report: counts by hand on small tables; shards add up in any order; memory does not grow with queries."""

from __future__ import annotations

import json
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest

from relabel.labels import ChangeCounts, adjust_rows, load_rule
from relabel.labels.degrees import AFTER, BEFORE, boundary_degree, bucket_of
from relabel.labels.examples import CLIP, EXAMPLES
from relabel.labels.query_change import MOST_CHANGED, QueryCounts
from relabel.records import Scale
from tests.relabel.labels.cases import BINARY, FROM_ONE, GRADED, make_judgements, make_pairs, random_case

SURE_3, SURE_0, FLAT = [0.0, 0.0, 0.1, 0.9], [0.9, 0.1, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]


def labels_of(originals, probabilities, values, queries=1):
    pairs = make_pairs(originals, queries=queries)
    judgements = make_judgements(pairs, probabilities, GRADED)
    return adjust_rows(pairs, judgements, BINARY, GRADED, load_rule(values), "j1")


def test_the_transition_matrix_counts_every_row_once():
    """Rows sit at (degree before, degree after); weight 0 and missing labels have columns of their own."""
    table = labels_of([0, 1, 1, 1, None, None], [SURE_3, SURE_0, FLAT, None, SURE_3, FLAT], {"rule": "drop-uncertain"})
    report = ChangeCounts.of(table, BINARY, GRADED).to_json()
    matrix = np.zeros((len(BEFORE), len(AFTER)), int)
    matrix[0, 6], matrix[4, 6], matrix[4, 4], matrix[5, 5] = 1, 2, 1, 2
    assert report["transitions"] == {"before": list(BEFORE), "after": list(AFTER), "rows": matrix.tolist()}
    assert (report["rows"], report["changed"], report["weight_zeroed"]) == (6, 3, 3)
    assert report["actions"] == {"dropped-contradicted": 2, "dropped-uncertain": 1, "kept": 2, "unjudged": 1}


def test_changes_are_counted_by_original_label():
    """Each original label, and unlabelled pairs, have their rows, share changed, crossings and judge's grades."""
    table = labels_of([0, 0, 1, None], [SURE_3, SURE_0, SURE_0, SURE_3], {"rule": "replace"})
    of_0, of_1, unlabelled = ChangeCounts.of(table, BINARY, GRADED).to_json()["by_original_label"]
    assert (of_0["label"], of_0["rows"], of_0["changed"], of_0["share_changed"]) == (0, 2, 1, 0.5)
    assert (of_0["became_relevant"], of_0["ceased_to_be_relevant"]) == (1, 0)
    assert of_0["judge_grades"] == {"0": 1, "1": 0, "2": 0, "3": 1, "unjudged": 0}
    assert (of_1["changed"], of_1["became_relevant"], of_1["ceased_to_be_relevant"]) == (1, 0, 1)
    assert (unlabelled["label"], unlabelled["changed"], unlabelled["became_relevant"]) == (None, 1, 1)


def test_keep_changes_nothing():
    """On random tables of every scale, keep has an empty off-diagonal, no crossing and no example."""
    for seed in range(12):
        pairs, judgements, pairs_scale, judge_scale = random_case(seed)
        table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, load_rule({"rule": "keep"}), "j1")
        report = ChangeCounts.of(table, pairs_scale, judge_scale).to_json()
        assert (report["rows"], report["changed"], report["became_relevant"]) == (300, 0, 0)
        assert report["examples"] == {"raised": [], "lowered": [], "dropped": []}
        assert report["by_query"]["most_changed"] == []


def test_the_margins_agree():
    """Rows by original label, by action and in the matrix are the same rows."""
    for seed in range(12):
        pairs, judgements, pairs_scale, judge_scale = random_case(seed)
        for name in ("replace", "promote-negatives", "drop-uncertain"):
            table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, load_rule({"rule": name}), "j1")
            report = ChangeCounts.of(table, pairs_scale, judge_scale).to_json()
            matrix = np.array(report["transitions"]["rows"])
            assert matrix.sum() == report["rows"] == sum(report["actions"].values()) == 300
            assert report["changed"] == matrix.sum() - np.trace(matrix)
            for name_of_count in ("rows", "changed", "became_relevant", "ceased_to_be_relevant", "weight_zeroed"):
                of_labels = sum(entry[name_of_count] for entry in report["by_original_label"])
                assert of_labels == report[name_of_count]
            graded = sum(sum(entry["judge_grades"].values()) for entry in report["by_original_label"])
            assert graded == 300
            assert sum(report["by_query"]["histogram"]) == report["by_query"]["queries"]
            assert report["by_query"]["queries"] == len(set(pairs["query_id"].to_pylist()))


def test_queries_are_counted_by_the_share_that_changed():
    """Shares fall into tenths with exact 0 and 1 apart; the most changed queries come first, ties by id."""
    counts = QueryCounts.of(
        *(make_pairs([0] * 30, queries=1).select(["query_id", "query"]).columns), np.zeros(30, bool)
    )
    assert counts.to_json()["histogram"][0] == 1
    table = labels_of([0] * 12, [SURE_3] * 2 + [SURE_0] * 10, {"rule": "promote-negatives"})
    report = ChangeCounts.of(table, BINARY, GRADED).to_json()["by_query"]
    assert dict(zip(report["share_changed"], report["histogram"], strict=True))["≤0.2"] == 1
    assert report["most_changed"] == [
        {"query_id": "q00000", "query": "what is 0", "rows": 12, "changed": 2, "share_changed": 0.166667}
    ]


@pytest.mark.parametrize("cuts", [(150,), (1, 2, 3), (40, 41, 150, 280), tuple(range(1, 300))])
@pytest.mark.parametrize("name", ["replace", "promote-negatives", "demote-positives", "drop-uncertain"])
def test_shards_add_up_in_any_order(cuts, name):
    """However a table is cut, and in whatever order the pieces are added, the report is that of the whole table."""
    pairs, judgements, pairs_scale, judge_scale = random_case(7)
    table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, load_rule({"rule": name}), "j1")
    whole = ChangeCounts.of(table, pairs_scale, judge_scale).to_json()
    edges = [0, *cuts, table.num_rows]
    pieces = [
        ChangeCounts.of(table.slice(start, stop - start), pairs_scale, judge_scale) for start, stop in pairwise(edges)
    ]
    rng = np.random.default_rng(3)
    for _ in range(3):
        order = rng.permutation(len(pieces))
        assert reduce(add, [pieces[i] for i in order]).to_json() == whole


def test_the_report_is_json():
    """The report has JSON values only and reads back the same."""
    pairs, judgements, pairs_scale, judge_scale = random_case(1)
    table = adjust_rows(pairs, judgements, pairs_scale, judge_scale, load_rule({"rule": "blend"}), "j1")
    report = ChangeCounts.of(table, pairs_scale, judge_scale).to_json()
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_an_empty_table_adds_nothing():
    """No rows count as nothing, and adding them changes nothing."""
    table = labels_of([0, 1], [SURE_3, SURE_0], {"rule": "replace"})
    some, none = (ChangeCounts.of(part, BINARY, GRADED) for part in (table, table.slice(0, 0)))
    assert none.to_json()["share_changed"] is None
    assert (some + none).to_json() == some.to_json() == (none + some).to_json()


def test_examples_are_the_surest_changes_of_each_direction():
    """Rows that crossed into relevance come before others, by the judge's probability; each shows before and after."""
    confidence = np.linspace(0.51, 0.99, 40)
    p = [[1 - c, 0, 0, c] for c in confidence] + [[c, 0, 0, 1 - c] for c in confidence]
    table = labels_of([0] * 40 + [1] * 40, p, {"rule": "replace"})
    examples = ChangeCounts.of(table, BINARY, GRADED).to_json()["examples"]
    assert [example["doc_id"] for example in examples["raised"]] == [f"d{39 - n:07d}" for n in range(EXAMPLES)]
    assert [example["doc_id"] for example in examples["lowered"]] == [f"d{79 - n:07d}" for n in range(EXAMPLES)]
    first = examples["raised"][0]
    assert first["sureness"] == pytest.approx(0.99)
    assert (first["crossed"], first["degree_before"], first["original_label"]) == (True, 0.0, 0.0)
    assert first["degree_after"] == pytest.approx(0.99)
    assert first["judge_probabilities"] == pytest.approx([0.01, 0, 0, 0.99])
    assert first["query"] == "what is 0"
    assert examples["dropped"] == []


def test_many_equally_sure_changes_still_give_a_fixed_choice():
    """Among ties the smallest ids are chosen, and no more than the bound."""
    table = labels_of([0] * 500, [SURE_3] * 500, {"rule": "replace"})
    examples = ChangeCounts.of(table, BINARY, GRADED).to_json()["examples"]["raised"]
    assert [example["doc_id"] for example in examples] == [f"d{n:07d}" for n in range(EXAMPLES)]


def test_texts_of_examples_are_clipped():
    """A long document does not go into the report whole."""
    pairs = make_pairs([0], words=1000)
    table = adjust_rows(
        pairs, make_judgements(pairs, [SURE_3], GRADED), BINARY, GRADED, load_rule({"rule": "replace"}), "j1"
    )
    text = ChangeCounts.of(table, BINARY, GRADED).to_json()["examples"]["raised"][0]["text"]
    assert (len(text), text[-1]) == (CLIP, "…")


def test_memory_is_bounded_by_shards_not_queries():
    """Of 5,000 queries in a shard only its two edge queries and the most changed are kept."""
    rows = 20_000
    pairs = make_pairs([0.0] * rows, queries=5000)
    judgements = make_judgements(pairs, np.random.default_rng(1).dirichlet(np.ones(4), rows), GRADED)
    rule = load_rule({"rule": "promote-negatives", "threshold": 0.5})
    table = adjust_rows(pairs, judgements, BINARY, GRADED, rule, "j1")
    counts = ChangeCounts.of(table, BINARY, GRADED)
    assert len(counts.queries.edges) == 2
    assert len(counts.queries.most_changed) == MOST_CHANGED
    assert counts.to_json()["by_query"]["queries"] == len(set(pairs["query_id"].to_pylist()))


@pytest.mark.parametrize("scale", [BINARY, GRADED, FROM_ONE, Scale((0, 1, 2, 3, 4), 3), Scale((0, 1, 2), 1)])
def test_grades_fall_into_buckets_of_their_own(scale):
    """Every grade of a scale with two to five grades has its own fifth, also after rounding to 32 bits."""
    degrees = scale.degree(np.array(scale.grades, float))
    for values in (degrees, degrees.astype(np.float32).astype(float)):
        assert len(set(bucket_of(values))) == len(scale.grades)
    relevant = degrees >= boundary_degree(scale)
    assert relevant.tolist() == [grade >= scale.relevant_from for grade in scale.grades]
