"""Configuration: every unknown or ill-typed key is refused by name, with what to write instead."""

from __future__ import annotations

import pytest

from relabel.config import Config
from relabel.errors import ConfigError


class Inner(Config):
    depth: int = 3


class Outer(Config):
    name: str
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()


def test_unknown_key_is_refused_with_the_nearest_one():
    """A misspelt key names the file, the key and the key that was meant."""
    with pytest.raises(ConfigError, match=r"r\.yaml: nmae: found the unknown key 'nmae'.*Next: write 'name'"):
        Outer.load({"name": "x", "nmae": 1}, "r.yaml")


def test_unknown_key_of_a_nested_part_lists_that_parts_keys():
    """The keys offered are those of the part that the key stands in."""
    with pytest.raises(ConfigError, match=r"inner\.deph: found the unknown key 'deph'; wanted one of depth"):
        Outer.load({"name": "x", "inner": {"deph": 1}}, "r.yaml")


def test_ill_typed_value_names_key_value_and_type():
    """A value of the wrong type is shown as it is."""
    with pytest.raises(ConfigError, match=r"many\.0\.depth: found 'deep'; wanted a valid integer"):
        Outer.load({"name": "x", "many": [{"depth": "deep"}]}, "r.yaml")


def test_missing_key_is_named():
    """A required key that is missing is asked for."""
    with pytest.raises(ConfigError, match=r"name: found nothing; wanted a value"):
        Outer.load({}, "r.yaml")


def test_a_list_is_no_configuration():
    """Something that is no mapping is refused as such."""
    with pytest.raises(ConfigError, match=r"found list"):
        Outer.load([1], "r.yaml")  # type: ignore[arg-type]
