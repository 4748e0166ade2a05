"""Galleries that keep their objects in files, and in S3."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from resumed import MIB, Running
from s3 import create_bucket
from upload_cases import SETTINGS as CASE_SETTINGS

SETTINGS = {"GALLERY_UPLOAD__MAX_BYTES": str(64 * MIB), "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}


@pytest.fixture(params=["files", "s3"])
def large_files(request, environment, s3) -> dict[str, str]:
    """An environment that takes credentials, and files of 64 MiB."""
    if request.param == "files":
        return environment | SETTINGS
    bucket = f"uploads-{uuid4().hex[:12]}"
    create_bucket(s3, bucket)
    return environment | SETTINGS | s3 | {"S3_BUCKET": bucket}


@pytest.fixture
async def running(large_files) -> AsyncIterator[Running]:
    """The client is Maya's."""
    async with running_application(large_files) as (gallery, client):
        client.headers.update(bearer_headers(make_token("maya")))
        yield gallery, client


@pytest.fixture(params=["files", "s3"])
async def store(request, environment, s3) -> dict[str, str]:
    """The environment of a gallery for `upload_cases.by_all_ways`."""
    if request.param == "files":
        return environment | CASE_SETTINGS
    bucket = f"ways-{uuid4().hex[:12]}"
    create_bucket(s3, bucket)
    return environment | CASE_SETTINGS | s3 | {"S3_BUCKET": bucket}
