"""S3 behind `Folder`: the client's settings from the usual AWS variables, its patience, and creating without replacing.

Endpoint, credentials and region come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
and AWS_REGION and are never logged. Errors 500 and 503, resets and bodies that end early are tried again by the client,
AWS_MAX_ATTEMPTS times in all (default 8, which takes about a minute).
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from relabel.errors import InputError
from relabel.secrets import refuse_in_address

ATTEMPTS = 8


def s3_filesystem() -> pafs.S3FileSystem:
    """pyarrow's client with our settings.

    Raises:
        InputError: for settings that S3 cannot use.
    """
    options: dict[str, Any] = {"request_timeout": 60, "connect_timeout": 10, "allow_delayed_open": True}
    options["retry_strategy"] = pafs.AwsStandardS3RetryStrategy(max_attempts=_attempts())
    endpoint, region = _endpoint(), _region()
    if endpoint:
        refuse_in_address(endpoint)
        parts = urlsplit(endpoint)
        options |= {"endpoint_override": parts.netloc or parts.path, "scheme": parts.scheme or "https"}
    if region:
        options["region"] = region
    try:
        return pafs.S3FileSystem(**options)
    except (pa.ArrowInvalid, ValueError) as error:
        raise _unusable(error) from None


def create_object(path: str, data: bytes) -> bool:
    """Put `bucket/key` only if there is no such object (`If-None-Match: *`, which pyarrow cannot send).

    A store that does not know the condition gets a look and a put. Raises OSError in pyarrow's words.
    """
    import botocore.config
    import botocore.exceptions
    import botocore.session

    endpoint, (bucket, _, key) = _endpoint(), path.partition("/")
    settings = botocore.config.Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": _attempts()},
        request_checksum_calculation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    try:
        client = botocore.session.get_session().create_client(
            "s3", endpoint_url=endpoint, region_name=_region(), config=settings
        )
        client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
    except botocore.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("PreconditionFailed", "ConditionalRequestConflict"):
            return False
        if code == "NotImplemented":
            return _create_by_looking(path, data)
        raise OSError(f"Unable to parse ExceptionName: {code} Message: {error}") from error
    except botocore.exceptions.NoCredentialsError as error:
        raise OSError(f"AWS Error ACCESS_DENIED: {error}") from error
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise OSError(f"AWS Error NETWORK_CONNECTION: {error}") from error
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise _unusable(error) from None
    return True


def _create_by_looking(path: str, data: bytes) -> bool:
    filesystem = s3_filesystem()
    if filesystem.get_file_info(path).type != pafs.FileType.NotFound:
        return False
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)
    return True


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _region() -> str | None:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return region or ("us-east-1" if _endpoint() else None)


def _attempts() -> int:
    given = os.environ.get("AWS_MAX_ATTEMPTS") or str(ATTEMPTS)
    if not given.isdecimal() or int(given) < 1:
        raise InputError("AWS_MAX_ATTEMPTS", repr(given), "a whole number of tries, at least 1")
    return int(given)


def _unusable(error: Exception) -> InputError:
    return InputError(
        "AWS_ENDPOINT_URL, AWS_REGION",
        f"settings that S3 cannot use ({error})",
        "http://… or https://… and a region",
    )
