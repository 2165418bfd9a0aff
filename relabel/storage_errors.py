"""What a file system's refusal means to a person: address, what was found, what to set next; never a secret."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from relabel.errors import InputError

_ACCESS = "credentials that may read and write there"
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones)"
_ENDPOINT = "set AWS_ENDPOINT_URL to the server's address, or unset it for Amazon's"

#: AWS error codes as pyarrow spells them: what was found, what is wanted, what to do next.
_EXPLANATIONS = {
    "NO_SUCH_BUCKET": ("no such bucket", "an existing bucket", "create the bucket or correct the address"),
    "ACCESS_DENIED": ("access denied", _ACCESS, _KEYS),
    "INVALID_ACCESS_KEY_ID": ("an access key that the server does not know", _ACCESS, _KEYS),
    "SIGNATURE_DOES_NOT_MATCH": ("a secret that does not fit the access key", _ACCESS, _KEYS),
    "EXPIRED_TOKEN": ("credentials that have expired", _ACCESS, f"{_KEYS} anew and give the same command again"),
    "SLOW_DOWN": (
        "a store that asks for fewer requests, also after many tries",
        "a store that keeps up",
        "give the same command again later, or use fewer actors: what is finished is kept",
    ),
    "INTERNAL_FAILURE": (
        "an error inside the store, also after many tries",
        "a store that answers",
        "give the same command again later: what is finished is kept",
    ),
    "NETWORK_CONNECTION": ("no server at the endpoint", "a server that answers", _ENDPOINT),
    "BROKEN_CONNECTION": (
        "connections that break off, also after many tries",
        "a network that carries whole answers",
        "give the same command again later: what is finished is kept",
    ),
}
#: curl's codes for a server that was reached and a connection that then broke: body cut, no answer, sending, receiving.
_BROKE_OFF = frozenset({18, 52, 55, 56})

#: What a local file system refuses for want of room: what is wanted, what to do next.
_NO_ROOM = ("room for the next file", "make room there and give the same command again: what is finished is kept")

_MISSING = "no such file"
_CHANGED = (
    "bytes that are not those that were written (a page has another checksum)",
    "the file as it was written",
    "restore it from a copy; or remove it, if it is a part of a table: the command that wrote the table makes it again",
)


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turns an OSError on `address` into an InputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise _input_error(address, error) from error


def no_such_file(address: str, bucket_missing: bool) -> InputError:
    """The error for a file that has to be there."""
    if bucket_missing:
        return InputError(address, *_EXPLANATIONS["NO_SUCH_BUCKET"])
    return InputError(address, _MISSING, "an existing file", "check the address")


def is_missing(error: InputError) -> bool:
    """Whether a file was looked for that is not there, and nothing else was wrong."""
    return error.found == _MISSING


def says_nothing(error: OSError) -> bool:
    """Whether an S3 store refused without a reason, as it does where the answer has no body."""
    return "No response body" in str(error)


def _input_error(address: str, error: OSError) -> InputError:
    if "page integrity" in str(error):  # Parquet's words where a page does not have its checksum
        return InputError(address, *_CHANGED)
    code = _code(str(error))
    if code in _EXPLANATIONS:
        return InputError(address, *_EXPLANATIONS[code])
    if urlsplit(address).scheme == "s3":
        return InputError(address, str(error), "an S3 store that answers", "check AWS_ENDPOINT_URL and AWS_REGION")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(address, error.strerror, *_NO_ROOM)
    found = error.strerror.split(" Detail:")[-1] if error.strerror else str(error)
    return InputError(address, found, "a path that can be read and written", "check the path and its permissions")


def _code(text: str) -> str:
    """The AWS error code in a message: as pyarrow spells those it knows, the same spelling of those it does not."""
    unknown = re.search(r"Unable to parse ExceptionName: (\w+)", text)
    if unknown:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", unknown[1]).upper()
    known = re.search(r"AWS Error ([A-Z_]+)", text)
    if known and known[1] == "NETWORK_CONNECTION":
        curl = re.search(r"curlCode: (\d+)", text)
        return "BROKEN_CONNECTION" if curl and int(curl[1]) in _BROKE_OFF else known[1]
    return known[1] if known else ""
