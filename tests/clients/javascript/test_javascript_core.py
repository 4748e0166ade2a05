"""The tests of the JavaScript client in Node (clients/javascript/test), each file beside real servers."""

import json
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import javascript_client
import photos
from conftest import running_application
from credentials import JWT_SECRET
from gallery_processes import GALLERY

TESTS = sorted((javascript_client.FOLDER / "test").glob("*.test.js"))
LINK_KEY = "shop:" + "A" * 43


@pytest.fixture
async def servers_of_tests(stack, environment, tmp_path) -> AsyncIterator[dict[str, str]]:
    """The environment of a test in JavaScript: the URLs of Gallery, open with a worker and closed without, and how to
    start one more beside the closed one.
    """
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photos.a_jpeg(640, 480, comment=secrets.token_hex(8).encode()))
    closed = {
        **environment,
        "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET,
        "GALLERY_ACCESS__LINK_KEYS": LINK_KEY,
        "GALLERY_NOTIFICATIONS__HEARTBEAT": "0.5",
    }
    async with running_application(closed) as (_, client):
        yield {
            "GALLERY_URL": stack.url,
            "CLOSED_URL": str(client.base_url).rstrip("/"),
            "JWT_SECRET": JWT_SECRET,
            "LINK_KEY": LINK_KEY,
            "PHOTO": str(photo),
            "GALLERY_PROGRAM": str(GALLERY),
            "GALLERY_ENVIRONMENT": json.dumps(closed),
        }


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
async def test_in_node(file: Path, servers_of_tests):
    sys.stdout.write(await javascript_client.run_tests(file, servers_of_tests))
