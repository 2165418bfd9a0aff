"""What is read from storage is not trusted: names that must stay in their folder, records that must have their types.

A run folder may lie where others can write. Its manifests, plans and markers name files and count rows, so a wrong one
must end in an error that names the file, never in a read or write elsewhere and never in a crash half-way.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from relabel.errors import InputError

Record = TypeVar("Record")


def safe_names(names: Iterable[Any], where: str) -> None:
    """Raise InputError for a name that is no relative path inside its folder.

    Args:
        where: the file or folder that holds the names.
    """
    for name in names:
        parts = name.split("/") if isinstance(name, str) else [""]
        if not all(parts) or {".", ".."} & set(parts) or not name.isprintable() or "\\" in name:
            raise InputError(
                where, f"the name {_clipped(name)}, which is none of a file inside its folder", "a plain relative name"
            )


def record(kind: type[Record], values: Any, where: str) -> Record:
    """A dataclass made of JSON values, each of the type of its field, counts not negative.

    Args:
        kind: a dataclass whose fields are plain values, lists and mappings.
        where: the file that the values come from.

    Raises:
        InputError: for a value of another type, and for keys that are missing or too many.
    """
    if not isinstance(values, Mapping):
        raise InputError(where, f"a {type(values).__name__}", "a mapping of keys to values")
    hints, fields = _declared(kind)
    unknown = sorted(map(str, set(values) - set(fields)))
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if unknown or missing:
        keys = f"the unknown key {_clipped(unknown[0])}" if unknown else f"no key {missing[0]!r}"
        raise InputError(where, keys, f"the keys {', '.join(fields)}")
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise InputError(where, f"{name}: {_clipped(value)}", f"{_said(hints[name])} for {name}")
    return kind(**values)


@functools.cache
def _declared(kind: type) -> tuple[dict[str, Any], dict[str, dataclasses.Field]]:
    """Name → type and name → field of a dataclass; a ledger has very many records of one kind."""
    return typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inside)
    if hint is type(None):
        return value is None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if origin is list:
        return isinstance(value, list) and all(_fits(one, inside[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, inside[0]) and _fits(v, inside[1]) for k, v in value.items())
    return isinstance(value, origin or hint)


def _said(hint: Any) -> str:
    return "a count" if hint is int else str(getattr(hint, "__name__", hint))


def _clipped(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
