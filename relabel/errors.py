"""Errors that a person can act on: where it is, what was found, what is wanted, what to type next.

Every error that a bad input can cause is a `RelabelError`; the command line prints its text without a traceback
and exits with its `exit_code` (listed in the README).
"""

from __future__ import annotations


def in_short(error: BaseException, most: int) -> str:
    """Kind of an error and its message, of which at most so many characters."""
    return f"{type(error).__name__}: {str(error).strip()[:most]}"


class RelabelError(Exception):
    """An error with a place, a finding, a wish and a next step.

    Args:
        where: file and row, option or key, e.g. `qrels/test.tsv:17` or `--prompt`.
        found: what was there.
        wanted: what would be accepted.
        fix: what to type or change next; may be empty where `wanted` says it all.
    """

    exit_code = 1

    def __init__(self, where: str, found: str, wanted: str, fix: str = ""):
        self.where, self.found, self.wanted, self.fix = where, found, wanted, fix
        text = f"{where}: found {found}; wanted {wanted}."
        super().__init__(f"{text} Next: {fix}" if fix else text)

    def __reduce__(self):
        return type(self), (self.where, self.found, self.wanted, self.fix)


class InputError(RelabelError):
    """A file, row or model folder from outside that cannot be used."""

    exit_code = 2


class ConfigError(RelabelError):
    """A recipe key or command-line option that is unknown, ill-typed or contradicts another."""

    exit_code = 3


class GateError(RelabelError):
    """The judge does not agree with people well enough to relabel anything."""

    exit_code = 4


class CircularEvidence(RelabelError):
    """Evidence on the judge's own labels, or on queries seen in training."""

    exit_code = 5


class LedgerError(RelabelError):
    """Rows in are not rows out plus rows quarantined, a key appears twice, or a folder contradicts its plan."""

    exit_code = 6


class FolderInUse(RelabelError):
    """Another run works in the folder."""

    exit_code = 7
