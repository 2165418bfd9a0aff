"""Secrets stay in the environment: they are refused in recipes and addresses, and blacked out in what is printed.

A recipe is saved in the run folder and shown in the report, and an address is part of every message. So neither may
hold a password, nor the value of an environment variable whose name says that it is a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from relabel.errors import ConfigError, InputError

#: Environment variables whose values are secrets, by their names: AWS_SECRET_ACCESS_KEY, RAY_AUTH_TOKEN, …
SECRET = re.compile(r"(?:^|_)(?:SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?|KEY)(?:_(?!PATH$|FILE$|DIR$)|$)")
#: A shorter value is no secret, and would be found in half of all texts.
SHORTEST = 12
#: `scheme://user:password@host`, where a password may hold `/` and `@` and `host:port/` is none; and a signed address's
#: signature.
IN_ADDRESS = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]*://)(?:[^\s/:@]*:(?!\d+(?:/|\s|$))\S*@|[^\s/@]*@)"
    r"|([?&][\w-]*(?:signature|token|secret)=)[^&\s]+"
)
HIDDEN = "***"


def secret_values() -> list[str]:
    """Values of this process's environment that are secrets, the longest first."""
    found = {value for name, value in os.environ.items() if SECRET.search(name.upper()) and len(value) >= SHORTEST}
    return sorted(found, key=len, reverse=True)


def redacted(text: str) -> str:
    """`text` without secrets of the environment and without credentials in addresses."""
    for value in secret_values():
        text = text.replace(value, HIDDEN)
    return IN_ADDRESS.sub(lambda match: (match[1] or match[2]) + HIDDEN + ("@" if match[1] else ""), text)


def refuse_in_address(address: str) -> None:
    """Raises InputError, which does not repeat it, for an address with credentials in it."""
    if IN_ADDRESS.search(address):
        raise InputError(redacted(address), *_IN_ADDRESS)


def refuse_in_recipe(values: Mapping[str, Any], where: str) -> None:
    """Refuse keys that hold a secret, before anything is printed or written.

    Raises:
        ConfigError: naming the key and never its value.
    """
    secrets = secret_values()
    for key, text in _texts(values):
        if IN_ADDRESS.search(text):
            raise ConfigError(f"{where}: {key}", *_IN_ADDRESS)
        if any(secret in text for secret in secrets):
            raise ConfigError(
                f"{where}: {key}",
                "the value of an environment variable that is a secret",
                "no secret: recipes are saved in the run folder and shown in the report",
                "leave it in the environment, where storage and Ray look for it",
            )


_IN_ADDRESS = (
    "an address with credentials in it",
    "one without: addresses are written into records and logs",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead, and take these credentials for known by others",
)


def _texts(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, str):
        yield key, values
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value, key)
