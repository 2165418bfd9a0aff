"""Joining judgements to pairs: what does not fit is refused by name, and the join is fast."""

from __future__ import annotations

import pyarrow as pa
import pytest

from relabel.errors import InputError, LedgerError
from relabel.labels import adjust_rows, judgements_of, load_rule
from relabel.records import Scale
from tests.relabel.labels.cases import BINARY, GRADED, make_judgements, make_pairs, random_case

KEEP = load_rule({"rule": "keep"})
P = [[0.7, 0.1, 0.1, 0.1]] * 3


def three():
    pairs = make_pairs([0, 1, 0], queries=1)
    return pairs, make_judgements(pairs, P, GRADED)


def replaced(table: pa.Table, column: str, values: list) -> pa.Table:
    place = table.column_names.index(column)
    return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))


def test_a_doubled_pair_is_refused():
    """A key in two rows of the pairs names both rows and the key."""
    pairs, judgements = three()
    doubled = replaced(pairs, "doc_id", ["d0", "d1", "d0"])
    with pytest.raises(LedgerError, match=r"pairs: rows 0 and 2: found query 'q00000', document 'd0' twice"):
        adjust_rows(doubled, judgements, BINARY, GRADED, KEEP, "j1")


def test_a_doubled_judgement_is_refused():
    """A key in two rows of the judgements is refused too."""
    pairs, judgements = three()
    with pytest.raises(LedgerError, match="judgements: rows 0 and 3"):
        adjust_rows(pairs, pa.concat_tables([judgements, judgements.slice(0, 1)]), BINARY, GRADED, KEEP, "j1")


def test_a_judgement_of_an_unknown_pair_is_refused():
    """Judgements of other pairs than the shard's name the first stray key."""
    pairs, judgements = three()
    with pytest.raises(LedgerError, match=r"document 'd0000002', which is not among the pairs"):
        adjust_rows(pairs.slice(0, 2), judgements, BINARY, GRADED, KEEP, "j1")


def test_keys_are_not_glued_together():
    """('a', 'bc') and ('ab', 'c') are different keys."""
    pairs = make_pairs([0, 1], queries=1)
    pairs = replaced(replaced(pairs, "query_id", ["a", "ab"]), "doc_id", ["bc", "c"])
    judgements = make_judgements(pairs, [[1, 0, 0, 0], [0, 0, 0, 1]], GRADED).slice(1)
    table = adjust_rows(pairs, judgements, BINARY, GRADED, KEEP, "j1")
    assert table["judge_grade"].to_pylist() == [None, 3]


def test_judgements_of_another_judge_are_refused():
    """Rows of a second judge never mix in."""
    pairs, judgements = three()
    with pytest.raises(LedgerError, match="found rows of the judge j1; wanted rows of j2 only"):
        adjust_rows(pairs, judgements, BINARY, GRADED, KEEP, "j2")


@pytest.mark.parametrize("label", [2.0, -1.0, float("nan"), float("inf")])
def test_a_label_outside_its_scale_is_refused(label):
    """A label that the scale does not have names row and scale; NaN is not null."""
    pairs, judgements = three()
    with pytest.raises(InputError, match=r"document 'd0000001': label: found .*wanted a number from 0 to 1"):
        adjust_rows(replaced(pairs, "label", [0, label, 1]), judgements, BINARY, GRADED, KEEP, "j1")


def test_a_score_outside_the_judges_scale_is_refused():
    """A score above the highest grade is refused."""
    pairs, judgements = three()
    with pytest.raises(InputError, match=r"score: found 3\.5; wanted a number from 0 to 3"):
        adjust_rows(pairs, replaced(judgements, "score", [0, 3.5, 1]), BINARY, GRADED, KEEP, "j1")


@pytest.mark.parametrize("bad", [[0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [float("nan"), 0, 0, 1], [-0.5, 0.5, 0.5, 0.5], []])
def test_probabilities_that_do_not_fit_the_scale_are_refused(bad):
    """Too few, not summing to 1, NaN and negative probabilities name their row."""
    pairs, judgements = three()
    with pytest.raises(InputError, match=r"document 'd0000002': probabilities: found .*wanted"):
        adjust_rows(pairs, replaced(judgements, "probabilities", [P[0], P[0], bad]), BINARY, GRADED, KEEP, "j1")


def test_labels_need_a_scale():
    """Pairs with labels but without a scale are refused; pairs without labels need none."""
    pairs, judgements = three()
    with pytest.raises(InputError, match="labels but no scale"):
        adjust_rows(pairs, judgements, None, GRADED, KEEP, "j1")
    replace = load_rule({"rule": "replace"})
    table = adjust_rows(replaced(pairs, "label", [None] * 3), judgements, None, GRADED, replace, "j1")
    assert table["label"].to_pylist() == pytest.approx([0.2] * 3)
    assert table["action"].to_pylist() == ["labelled"] * 3


def test_scales_of_pairs_and_judge_may_differ():
    """Grades 0–4 and a binary judge meet as degrees."""
    pairs = make_pairs([4, 1])
    judgements = make_judgements(pairs, [[0.5, 0.5], [0.0, 1.0]], BINARY)
    blend = load_rule({"rule": "blend", "alpha": 0.5})
    table = adjust_rows(pairs, judgements, Scale((0, 1, 2, 3, 4), 2), BINARY, blend, "j1")
    assert table["label"].to_pylist() == pytest.approx([0.75, 0.625])


def test_sliced_and_chunked_tables_join_alike():
    """Slices of larger tables and tables in several chunks give what contiguous copies give."""
    pairs, judgements, pairs_scale, judge_scale = random_case(4, 200)
    rule = load_rule({"rule": "blend"})
    whole = adjust_rows(pairs, judgements, pairs_scale, judge_scale, rule, "j1")
    chunked = pa.concat_tables([pairs.slice(0, 7), pairs.slice(7, 100), pairs.slice(107)])
    pieces = pa.concat_tables([judgements.slice(0, 50), judgements.slice(50)])
    assert adjust_rows(chunked, pieces, pairs_scale, judge_scale, rule, "j1").combine_chunks().equals(whole)
    part = judgements_of(pairs.slice(50, 100), judgements)
    sliced = adjust_rows(pairs.slice(50, 100), part, pairs_scale, judge_scale, rule, "j1")
    assert sliced.equals(whole.slice(50, 100))


def test_judgements_of_a_shard_are_found_among_all():
    """Of a whole table's judgements, exactly those of the shard's pairs are taken."""
    pairs, judgements, _, _ = random_case(2, 100)
    found = judgements_of(pairs.slice(20, 30), judgements)
    wanted = set(pairs["doc_id"].slice(20, 30).to_pylist()) & set(judgements["doc_id"].to_pylist())
    assert found["doc_id"].to_pylist() == sorted(wanted)
    assert judgements_of(pairs.slice(0, 0), judgements).num_rows == 0
