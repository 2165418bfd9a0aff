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


@pytest.mark.parametrize(
    ("now", "chosen", "expected"),
    [
        ({"a": 1, "new": 0}, {"a": 1}, None),
        ({"a": 1, "new": 5}, {"a": 1, "new": 5}, ("new", None, 5)),
        ({"a": 1, "inner": {"x": 1, "new": 0}}, {"inner": {"x": 1}}, None),
        ({"a": 1, "inner": {"x": 1, "new": 0}}, {}, None),
        ({"a": 1, "inner": {"x": 2, "new": 0}}, {}, ("inner.x", 1, 2)),
        ({"a": 2}, {}, ("a", 1, 2)),
    ],
)
def test_a_key_that_the_version_before_did_not_know_is_the_same_at_its_default(now, chosen, expected):
    """What was known is compared, at its default or not; an unknown key counts once somebody sets it."""
    before = {"a": 1, "inner": {"x": 1}}
    assert first_difference(before, {"inner": {"x": 1}} | now, chosen=chosen) == expected


def test_keys_inside_lists_are_compared_one_by_one():
    """A rule of a list that an older version wrote lacks a new key as well; a longer list is another one."""
    before, now = {"rules": [{"rule": "blend"}]}, {"rules": [{"rule": "blend", "new": 0}]}
    assert first_difference(before, now, chosen={"rules": [{"rule": "blend"}]}) is None
    assert first_difference(before, now, chosen={}) is None
    assert first_difference(before, now, chosen={"rules": [{"rule": "blend", "new": 0}]}) == ("rules.0.new", None, 0)
    assert first_difference(before, {"rules": []}, chosen={}) == ("rules", [{"rule": "blend"}], [])
