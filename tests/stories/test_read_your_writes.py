"""What a client was told by one process, it reads through every other process of the machine: ten thousand reads."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

import gallery_processes
from factories import listen, post, unique_photo
from http_clients import TLS_CONTEXT
from raw_http import RawConnection
from scraping import scrape

IMAGES = 8
EDITS = 250  # of each image; each is read twice by both processes after the answer, and once after its event
UPLOADS = 25  # each is read in a list, deleted, and looked for again


@dataclass
class Process:
    """An API process: a client for changes, and connections for reads, which cost a fraction of a client's."""

    url: str
    client: httpx.AsyncClient
    stack: AsyncExitStack
    idle: list[RawConnection] = field(default_factory=list)

    async def read(self, path: str) -> tuple[int, Any]:
        """The status and the JSON."""
        connection = self.idle.pop() if self.idle else await self.stack.enter_async_context(RawConnection(self.url))
        response = await connection.request(b"GET", path.encode())
        self.idle.append(connection)
        return response.status, json.loads(response.body)


@pytest.fixture
async def processes(environment, tmp_path) -> AsyncIterator[tuple[Process, Process]]:
    """Two API processes, with a worker."""
    async with (
        gallery_processes.api(environment, tmp_path) as first,
        gallery_processes.api(environment, tmp_path) as second,
        gallery_processes.worker(environment, tmp_path),
        httpx.AsyncClient(base_url=first.url, timeout=20, verify=TLS_CONTEXT) as one,
        httpx.AsyncClient(base_url=second.url, timeout=20, verify=TLS_CONTEXT) as other,
        AsyncExitStack() as stack,
    ):
        yield Process(first.url, one, stack), Process(second.url, other, stack)


class Reads:
    """Reads that must not be older than a version, and their number."""

    def __init__(self):
        self.count = Counter()

    async def image(self, process, id_, version):
        _, found = await process.read(f"/api/v1/images/{id_}")
        self.count["image"] += 1
        assert found["version"] >= version, f"read {found['version']} after {version}"

    async def list(self, process, id_, version):
        _, images = await process.read("/api/v1/images?limit=20")
        found = {image["id"]: image["version"] for image in images}
        self.count["list"] += 1
        assert found.get(id_, 0) >= version, f"listed {found.get(id_)} after {version}"


@pytest.mark.timeout(300)  # ten thousand reads, on a busy machine
async def test_no_read_through_another_process_is_older_than_what_its_client_was_told(processes):
    one, other = processes
    reads = Reads()
    images = [(await post(one.client, unique_photo())).json()["id"] for _ in range(IMAGES)]
    async with listen(one.client) as at_one, listen(other.client) as at_other:
        followers = [
            asyncio.create_task(read_after_events(reads, at_one, other)),
            asyncio.create_task(read_after_events(reads, at_other, one)),
        ]
        writers = [edit(reads, id_, (one, other) if n % 2 else (other, one)) for n, id_ in enumerate(images)]
        await asyncio.gather(*writers, come_and_go(reads, one, other))
        await asyncio.sleep(1)
        for follower in followers:
            assert not follower.done() or follower.exception() is None, "the stream has ended"
            follower.cancel()
    assert reads.count.total() >= 10_000, reads.count
    for process in processes:
        lookups = await scrape(process.client)
        assert lookups.value("cache_lookups_total", result="memory") > 100, "finished responses were used"


async def edit(reads, id_, processes):
    """Edits through one process, and reads through both at once when the answer is there, twice."""
    writer, reader = processes
    for n in range(EDITS):
        version = (await writer.client.patch(f"/api/v1/images/{id_}", json={"title": f"title {n}"})).json()["version"]
        for read in (reads.image, reads.list) if n % 4 == 0 else (reads.image, reads.image):
            await asyncio.gather(read(reader, id_, version), read(writer, id_, version))


async def come_and_go(reads, one, other):
    for n in range(UPLOADS):
        writer, reader = (one, other) if n % 2 else (other, one)
        added = (await post(writer.client, unique_photo())).json()
        await reads.list(reader, added["id"], added["version"])
        await reads.image(reader, added["id"], added["version"])
        await writer.client.delete(f"/api/v1/images/{added['id']}")
        assert (await reader.read(f"/api/v1/images/{added['id']}"))[0] == 404
        _, listed = await reader.read("/api/v1/images?limit=20")
        assert added["id"] not in [image["id"] for image in listed]


async def read_after_events(reads, listener, reader):
    """Reads each image through the other process when its event has arrived; a deleted one is gone."""
    while True:
        event = await listener.next(seconds=60)
        data = json.loads(event.data)
        if event.event == "image.deleted":
            assert (await reader.read(f"/api/v1/images/{data['imageId']}"))[0] == 404
        elif event.event in ("image.updated", "image.ready"):
            status, found = await reader.read(f"/api/v1/images/{data['imageId']}")
            reads.count["event"] += 1
            if status != 404:  # deleted since
                assert found["version"] >= data["version"], f"{found['version']} after {data}"
