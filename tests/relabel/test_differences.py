"""The first difference of two configurations: by path, in the order of keys, without what may change."""

import pytest

from relabel.differences import first_difference


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"b": 1, "a": {"x": [1, 2]}}, {"b": 2, "a": {"x": [1, 3]}}, ("a.x", [1, 2], [1, 3])),
        ({"a": None}, {}, None),
        ({"a": {"x": 1}}, {"a": None}, ("a", {"x": 1}, None)),
        ({}, {"new": 0}, ("new", None, 0)),
        (None, {"a": 1}, ("", None, {"a": 1})),
    ],
)
def test_names_the_first_key_that_differs(before, now, expected):
    assert first_difference(before, now) == expected


def test_free_keys_are_the_outermost_alone():
    before, now = {"speed": 1, "model": {"speed": 1}}, {"speed": 2, "model": {"speed": 2}}
    assert first_difference(before, now, free={"speed"}, key="judge") == ("judge.model.speed", 1, 2)
