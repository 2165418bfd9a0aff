"""The base of every component's configuration: pydantic models that refuse unknown keys by name.

A component defines its own `Config` subclass beside its code; recipes compose them and the command line makes one
option a field from them. Invariant: no key is ever ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from relabel.errors import ConfigError
from relabel.secrets import refuse_in_recipe


class Config(BaseModel):
    """Base class of all component configurations: frozen, strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())

    @classmethod
    def load(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate `values`; `where` names the file or command for the message.

        Raises:
            ConfigError: for a secret among the values (see `relabel.secrets`); for the first key that is unknown or
                ill-typed, with the nearest valid key.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(where, f"{type(values).__name__} {values!r}", "a mapping of keys to values")
        refuse_in_recipe(values, where)
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(cls, error, where) from None


def _explain(model: type[BaseModel], error: ValidationError, where: str) -> ConfigError:
    errors = error.errors()
    unknown = (one for one in errors if one["type"] == "extra_forbidden")
    first = next(unknown, errors[0])  # a misspelt required key is unknown and missing: the former says what to write
    path = ".".join(str(part) for part in first["loc"])
    place = f"{where}: {path}" if path else where
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, first["loc"][:-1])
        names = sorted(owner.model_fields) if owner else []
        key = str(first["loc"][-1])
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        return ConfigError(
            place, f"the unknown key {key!r}", f"one of {', '.join(names)}", f"write {near[0]!r}" if near else ""
        )
    if first["type"] == "missing":
        return ConfigError(place, "nothing", "a value: this key is required", f"add {path!r}")
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    given = first.get("input")
    found = "keys that do not go together" if isinstance(given, Mapping) else _clipped(repr(given))
    return ConfigError(place, found, wanted, f"correct {path!r}" if path else "")


def _clipped(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _model_at(model: type[BaseModel], location: tuple) -> type[BaseModel] | None:
    """The model that owns the key at `location`, following nested models, lists and optional values."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            continue
        model = nested_config(field.annotation) or model
    return model


def nested_config(annotation: Any) -> type[BaseModel] | None:
    """The configuration class inside an annotation such as `FirstStageConfig | None`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = nested_config(argument)
        if found:
            return found
    return None
