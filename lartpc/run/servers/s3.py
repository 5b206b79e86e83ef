"""Objects of S3."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from lartpc.remote import RemoteFile, matches

_FINAL = ("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "404")
LARGEST_PART = 5 * 2**30
"""Bytes of the largest object that is uploaded in one part, so that the server states its MD5."""


def ask(url: str) -> Iterator[RemoteFile]:
    """Yield the objects of a URL or a pattern, with their sizes, and the MD5 of those uploaded in one part."""
    bucket, key = _place(url)
    with _plainly():
        stem = key[: min((key.index(c) for c in "*?[" if c in key), default=len(key))]
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=stem):
            for one in page.get("Contents", ()):
                tag = one["ETag"].strip('"')
                if matches(one["Key"], key):
                    checksum = f"md5:{tag}" if len(tag) == 32 else ""
                    yield RemoteFile(f"s3://{bucket}/{one['Key']}", one["Size"], checksum)


def get(url: str, path: Path) -> None:
    """Copy an object."""
    bucket, key = _place(url)
    with _plainly():
        _client().download_file(bucket, key, str(path))


def put(path: Path, url: str, part: str) -> None:
    """Write a file to a URL; an object appears when all of it is there, so that `part` is not needed."""
    from boto3.s3.transfer import TransferConfig

    bucket, key = _place(url)
    with _plainly():
        _client().upload_file(str(path), bucket, key, Config=TransferConfig(multipart_threshold=LARGEST_PART))


def remove(url: str) -> None:
    """Remove an object; one that is not there is no error."""
    bucket, key = _place(url)
    with _plainly():
        _client().delete_object(Bucket=bucket, Key=key)


def _place(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _client() -> Any:
    names = ("endpoint_url", "access_key", "secret_key", "region")
    return _client_of(*(os.environ.get(f"SNAKEMAKE_STORAGE_S3_{name.upper()}") for name in names))


@lru_cache
def _client_of(endpoint: str | None, key: str | None, secret: str | None, region: str | None) -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name=region
    )


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise what Amazon's packages raise as OSError, FileNotFoundError where asking again is of no use."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        kind = FileNotFoundError if error.response["Error"]["Code"] in _FINAL else OSError
        raise kind(str(error)) from None
    except Boto3Error as error:  # of transfers; it quotes the ClientError
        kind = FileNotFoundError if any(f"({code})" in str(error) for code in _FINAL) else OSError
        raise kind(str(error)) from None
    except BotoCoreError as error:
        raise OSError(str(error)) from None
