"""Many large pictures at once: their bytes wait on the disk or at the store, not in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import psutil
import pytest

import photos
from factories import post
from gallery_processes import RunningGallery, api

MIB = 1024 * 1024
CONCURRENCY = 32
SIZE = 10_000_000
BLOCK = bytes(64 * 1024)


@pytest.fixture(params=["files", "s3"])
def store_environment(request, environment):
    if request.param == "files":
        return environment
    return {
        **environment,
        **request.getfixturevalue("s3"),
        "S3_BUCKET": environment["GALLERY_REDIS__PREFIX"] + "-memory",
    }


async def a_large_body(number: int) -> AsyncIterator[bytes]:
    """A file made while it is sent, so that 32 of them do not fill the test's memory."""
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    photo = photos.a_jpeg(64, 48) + number.to_bytes(4, "big")
    yield photo
    for begin in range(len(photo), SIZE, len(BLOCK)):
        yield BLOCK[: SIZE - begin]
    yield b"\r\n--b--\r\n"


async def upload(url: str, number: int) -> str:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with httpx.AsyncClient(base_url=url, timeout=100) as client:
        answer = await client.post("/api/v1/images", content=a_large_body(number), headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@asynccontextmanager
async def memory_limit(stack: RunningGallery, at_most: int) -> AsyncIterator[None]:
    """Fails when the process's memory grows by more than so many MiB during the block."""
    process, seen = psutil.Process(stack.pid), []

    async def look() -> None:
        while True:
            seen.append(process.memory_info().rss // MIB)
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0.1)
    try:
        yield
    finally:
        looking.cancel()
    print(f"{seen[0]} MiB at first, {max(seen)} at most")  # noqa: T201  pytest shows it on demand
    assert max(seen) - seen[0] < at_most


async def test_32_large_uploads_and_32_slow_downloads_are_not_in_memory(store_environment, tmp_path):
    async with (
        api(store_environment, tmp_path) as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as client,
        AsyncExitStack() as stack,
    ):
        for _ in range(8):
            assert (await post(client)).status_code == 201
        async with memory_limit(server, 70):
            images = await asyncio.gather(*(upload(server.url, number) for number in range(CONCURRENCY)))
        async with memory_limit(server, 100):
            for image in images:
                original = client.stream("GET", f"/api/v1/images/{image}/original")
                assert (await stack.enter_async_context(original)).status_code == 200
            await asyncio.sleep(2)
