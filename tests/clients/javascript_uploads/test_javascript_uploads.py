"""Uploads and queues of the JavaScript client in Node, before a Gallery that takes large files."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

import gallery_processes
import javascript_client
import photos

FOLDER = javascript_client.FOLDER / "test" / "uploads"
TESTS = sorted(FOLDER.glob("*.test.js"))
MIB = 1024 * 1024


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photos.a_jpeg(640, 480))
    return photo


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
async def test_in_node(file: Path, large_stack, photo):
    servers = {"GALLERY_URL": large_stack.url, "PHOTO": str(photo)}
    sys.stdout.write(await javascript_client.run_tests(file, servers, 100))


async def test_an_upload_goes_on_when_its_api_has_died_and_another_begins(environment, tmp_path, photo):
    javascript_client.build()
    where = {"PORT": str(gallery_processes.free_port()), "GALLERY_UPLOAD__MAX_BYTES": str(64 * MIB)}
    async with gallery_processes.api(environment, tmp_path / "first", **where) as first:
        process = await asyncio.create_subprocess_exec(
            str(javascript_client.NODE),
            FOLDER / "slow_upload.js",
            env={**gallery_processes.base_environment(), "GALLERY_URL": first.url, "PHOTO": str(photo)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        while json.loads(await process.stdout.readline())["sent"] < 8 * MIB:
            pass
        await first.stop(signal.SIGKILL)
    async with gallery_processes.api(environment, tmp_path / "second", **where):
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    end = json.loads(output.splitlines()[-1])
    assert end["stored"] == end["sha256"]
    assert end["sentBytes"] < end["size"] + 9 * MIB, "at most a chunk is sent again"
