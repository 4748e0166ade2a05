"""Galleries that keep their objects in files, and in S3."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from resumed import MIB, Running
from s3 import create_bucket

SETTINGS = {"GALLERY_UPLOAD__MAX_BYTES": str(64 * MIB), "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}


@pytest.fixture(params=["files", "s3"])
async def running(request, environment, s3) -> AsyncIterator[Running]:
    """It takes credentials, and files of 64 MiB; the client is Maya's."""
    more = SETTINGS
    if request.param == "s3":
        more = SETTINGS | s3 | {"S3_BUCKET": f"uploads-{uuid4().hex[:12]}"}
        create_bucket(s3, more["S3_BUCKET"])
    async with running_application(environment, **more) as (gallery, client):
        client.headers.update(bearer_headers(make_token("maya")))
        yield gallery, client
