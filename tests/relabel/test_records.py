"""Schemas and scales: what is checked before a table is believed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from relabel.errors import InputError
from relabel.records import PAIRS, RANKINGS, Scale, checked


def test_degree_is_linear_over_the_scale():
    """The lowest grade is 0, the highest 1, others in between, on any scale."""
    assert [Scale((1, 2, 3, 4), 3).degree(grade) for grade in (1, 2.5, 4)] == [0, 0.5, 1]
    assert Scale((0, 1, 2, 3), 2).relevant_degree == pytest.approx(2 / 3)


@pytest.mark.parametrize("grades", [(1,), (1, 1), (2, 1), ()])
def test_a_scale_needs_ascending_different_grades(grades):
    """Grades that are no scale are refused."""
    with pytest.raises(InputError, match="two or more different grades, ascending"):
        Scale(grades, 1)


def test_the_lowest_grade_cannot_be_relevant():
    """A scale on which everything is relevant is refused."""
    with pytest.raises(InputError, match="relevant_from 0"):
        Scale((0, 1), 0)


def test_missing_column_is_named(make_pairs):
    """A table without a declared column is refused by the column's name and type."""
    table = make_pairs([("q", "d", "a", "b", 1)]).drop_columns(["text"])
    with pytest.raises(InputError, match=r"wanted a column 'text' \(string\)"):
        checked(table, PAIRS, "here")


def test_null_where_none_is_allowed_names_the_row(make_pairs):
    """The row of the first null is named."""
    table = make_pairs([("q", "d", "a", "b", 1), ("q", "e", "a", "b", 0)])
    nulls = table.set_column(0, "query_id", pa.array(["q", None]))
    with pytest.raises(InputError, match=r"here: row 1: found null in 'query_id'"):
        checked(nulls, PAIRS, "here")


def test_types_are_cast_only_without_loss():
    """Integers become doubles; text that is no number is refused."""
    row = {"system": ["s"], "query_id": ["q"], "doc_id": ["d"], "rank": [1], "score": [2]}
    assert checked(pa.table(row), RANKINGS, "x")["score"].to_pylist() == [2.0]
    with pytest.raises(InputError, match="rank: found string"):
        checked(pa.table(row | {"rank": ["first"]}), RANKINGS, "x")
