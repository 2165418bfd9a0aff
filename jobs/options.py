"""Command-line options made from a stage's configuration class: one option a field, no more and no less.

Scalars are `--field-name value`, lists take several values, flags are `--field-name` or `--no-field-name`; nested
parts are set by `--set part.key=value` (values are YAML). `--recipe FILE` takes the stage's section of a recipe first.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from relabel.config import Config, nested_config
from relabel.errors import ConfigError

#: An option that is not given leaves no attribute.
ABSENT = argparse.SUPPRESS


def add_options(parser: argparse.ArgumentParser, config: type[Config], skip: frozenset[str] = frozenset()) -> None:
    """Add an option for each scalar or list field of `config`, and `--set` for all of them.

    Fields of the parts that `config.INLINE` names get options as well, but for those that `config` has itself.
    """
    _add_fields(parser, config, skip)
    parser.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="a.b=c", help="set any key; the value is YAML"
    )


def _add_fields(parser: argparse.ArgumentParser, config: type[Config], skip: frozenset[str], prefix: str = "") -> None:
    meanings, aliases = attribute_meanings(config), getattr(config, "OPTION_ALIASES", {})
    for name, field in config.model_fields.items():
        if name in skip:
            continue
        kind = _plain(field.annotation)
        if name in getattr(config, "INLINE", ()):
            _add_fields(parser, nested_config(field.annotation), frozenset(config.model_fields), f"{name}.")
            continue
        if kind is None:
            inner = f"{name}.NAME." if get_origin(field.annotation) is dict else f"{name}."
            add_nested(parser, name, nested_config(field.annotation), prefix + inner)
            continue
        options = [f"--{name.replace('_', '-')}", *filter(None, [aliases.get(name)])]
        shown = field.description or meanings.get(name, "")
        text = (shown + _default_note(field)).replace("%", "%%")
        if kind is bool:
            parser.add_argument(
                *options, dest=prefix + name, action=argparse.BooleanOptionalAction, default=ABSENT, help=text
            )
        else:
            many = {"nargs": "+", "action": "extend"} if get_origin(kind) is list else {}
            choices = f"{{{'|'.join(map(str, get_args(kind)))}}}" if get_origin(kind) is Literal else name.upper()
            parser.add_argument(*options, dest=prefix + name, default=ABSENT, metavar=choices, help=text, **many)


def add_nested(parser: argparse.ArgumentParser, title: str, config: type[Config] | None, prefix: str = "") -> None:
    """Explain keys that only `--set` takes in a section of the help; `prefix` is what stands before each key."""
    if config is None:
        return
    meanings = attribute_meanings(config)
    lines = (
        f"{prefix}{key}: {field.description or meanings.get(key, '')}{_default_note(field)}"
        for key, field in config.model_fields.items()
    )
    about = (config.__doc__ or "").partition("\n\n")[0]
    parser.add_argument_group(title, f"{about} With --set: {'; '.join(lines)}".replace("%", "%%"))


def config_values(options: argparse.Namespace, config: type[Config], base: Mapping[str, Any] | None = None) -> dict:
    """The values given on the command line on top of `base`, for `config.load`.

    Raises:
        ConfigError: for a `--set` without `=`.
    """
    values = dict(base or {})
    for name in config.model_fields:
        if hasattr(options, name):
            values[name] = getattr(options, name)
    for part in getattr(config, "INLINE", ()):
        given = {
            name.removeprefix(f"{part}."): value for name, value in vars(options).items() if name.startswith(f"{part}.")
        }
        if given:
            values[part] = {**values[part], **given} if isinstance(values.get(part), Mapping) else given
    return assigned(values, options.assignments)


def assigned(values: Mapping[str, Any], assignments: list[str]) -> dict[str, Any]:
    """`values` with `a.b=c` assignments applied; values are YAML, missing mappings are made.

    Raises:
        ConfigError: for an assignment that is no `a.b=c` or goes through something that is no mapping.
    """
    result = dict(values)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError("--set", repr(assignment), "a.b=c", "e.g. --set judge.prompt=binary")
        _assign(result, path.split("."), _yaml(text, assignment), assignment)
    return result


def _assign(target: dict[str, Any], keys: list[str], value: Any, assignment: str) -> None:
    for depth, key in enumerate(keys[:-1]):
        inner = target.get(key)
        if inner is None:
            inner = {}
        if not isinstance(inner, Mapping):
            path = ".".join(keys[: depth + 1])
            raise ConfigError("--set", f"{assignment!r}, but {path} is {inner!r}", "a path through mappings")
        target[key] = dict(inner)
        target = target[key]
    target[keys[-1]] = value


def _yaml(text: str, assignment: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("--set", f"{assignment!r} ({error})", "a value that is YAML") from None


def attribute_meanings(config: type[Config]) -> dict[str, str]:
    """Field → meaning, read from the `Attributes:` part of the class's docstring and its bases'."""
    meanings: dict[str, str] = {}
    for owner in reversed(config.__mro__):
        lines = (owner.__doc__ or "").partition("Attributes:")[2].splitlines()
        names: list[str] = []
        for line in lines:
            head, colon, rest = line.strip().partition(": ")
            if line.startswith(" " * 8) and not line.startswith(" " * 9) and colon and _are_names(head):
                names = [name.strip() for name in head.split(",")]
                meanings |= dict.fromkeys(names, rest)
            elif line.strip():
                meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
    return meanings


def _are_names(head: str) -> bool:
    return all(part.strip().isidentifier() for part in head.split(","))


def _default_note(field: FieldInfo) -> str:
    if field.is_required():
        return " (required)"
    default = field.get_default(call_default_factory=True)
    return "" if default in (None, "", [], {}) else f" (default: {default})"


def _plain(annotation: Any) -> Any:
    """The scalar, Literal or list type behind an annotation; None where only `--set` can express it."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [argument for argument in get_args(annotation) if argument is not type(None)]
        return _plain(inner[0]) if len(inner) == 1 else None
    if annotation in (str, int, float, bool) or get_origin(annotation) is Literal:
        return annotation
    if get_origin(annotation) is list and get_args(annotation)[0] in (str, int, float):
        return annotation
    return None
