"""Clients that break off, crawl, do not read, come and go, and change their minds; and rings that come too often."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import redis.asyncio as redis

from faults.deployment import NO_SETTINGS, Deployment, check_survives
from faults.load import ReceivedEvents, listen
from gallery.images.jobs import PROCESS_JOB
from gallery.jobs.queue import Job
from gallery.settings import Settings
from gallery.wiring import open_gallery

BODY_SHARES = (0.1, 0.5, 0.99, 1.0)  # of a body
SLOW_CLIENTS = 100  # clients at once
NON_READING_CLIENTS = 50


async def test_clients_break_off_in_the_middle_of_their_uploads(deployment):
    """What they sent is there whole or not at all; with their key they get one image in the end."""

    async def fault(city: Deployment) -> None:
        for share in BODY_SHARES * 3:
            content, key = deployment.load.make_photo(), str(uuid4())
            deployment.load.abandoned_hashes.add(hashlib.sha256(content).hexdigest())
            async with _connect(deployment) as (_, writer):
                request = _upload_request(content, key)
                head = request.index(b"\r\n\r\n") + 4
                writer.write(request[: head + round((len(request) - head) * share)])
                await writer.drain()
                await asyncio.sleep(random.choice((0, 0.02)))
            if random.random() < 0.5:
                await deployment.load.upload(content)

    await check_survives(deployment, fault)


async def test_many_uploads_crawl(deployment):
    """They take connections and spools, and nobody else waits for them; in the end they are answered."""

    async def fault(city: Deployment) -> None:
        ids = await asyncio.gather(*(_upload_slowly(deployment) for _ in range(SLOW_CLIENTS)))
        assert len(set(ids)) == SLOW_CLIENTS

    await check_survives(deployment, fault)


async def test_listeners_come_and_go_through_everything_and_some_never_read(deployment):
    """Two hundred who leave whenever they like, while the API, Valkey's memory and all connections are lost."""

    async def fault(city: Deployment) -> None:
        crowd = [ReceivedEvents() for _ in range(deployment.intensity.listeners)]
        going = [asyncio.create_task(listen(deployment.url, one, _random_seconds)) for one in crowd]
        try:
            async with _non_reading_clients(deployment):
                await asyncio.sleep(deployment.intensity.load_seconds / 3)
                await _flush_valkey_and_restart(deployment)
            async with _non_reading_clients(deployment):
                await asyncio.sleep(deployment.intensity.load_seconds * 2 / 3)
                await _wait_until_received(deployment, crowd)
        finally:
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)
        for one in crowd:
            assert one.resets == 0
            assert one.ids == sorted(set(one.ids))
        assert max(one.connections for one in crowd) > 1

    await check_survives(deployment, fault)


async def test_deletes_and_edits_race_the_workers(deployment):
    """A delete wins whenever it comes; an edit keeps its title; and versions only rise."""

    async def fault(city: Deployment) -> None:
        titles = dict(
            await asyncio.gather(*(_race_worker(deployment, number) for number in range(deployment.intensity.races)))
        )
        async with (
            open_gallery(Settings.read(deployment.direct_environment)) as gallery,
            gallery.database.primary() as db,
        ):
            found = {row["id"]: row["title"] for row in await db.fetch("SELECT id::text, title FROM image")}
        assert {image: found[image] for image in titles if titles[image]} == {i: t for i, t in titles.items() if t}

    await check_survives(deployment, fault)


async def test_every_job_is_delivered_three_times(deployment):
    async def fault(city: Deployment) -> None:
        async with open_gallery(Settings.read(deployment.direct_environment)) as gallery:
            known: set[str] = set()
            for _ in range(round(deployment.intensity.load_seconds * 10)):
                more = set(deployment.load.acknowledged) - known
                await gallery.queue.enqueue_all(
                    [Job(PROCESS_JOB, i, dedup_key=100 + n) for i in more for n in range(3)]
                )
                known |= more
                await asyncio.sleep(0.1)
            async with gallery.database.primary() as db:
                attempts = await db.fetchval("SELECT max(attempt) FROM image")
        assert attempts == 1, "one of all deliveries was the one"

    await check_survives(deployment, fault, workers=[NO_SETTINGS] * 4)


async def _flush_valkey_and_restart(city: Deployment) -> None:
    async with redis.from_url(city.direct_environment["REDIS_URL"]) as valkey:
        await valkey.flushall()
    for cable in (city.database, city.valkey, city.store):
        cable.reset_connections()
    await city.stop_api()
    await city.start_api()


async def _race_worker(city: Deployment, number: int) -> tuple[str, str]:
    """An image, and the title that it must have in the end; none where it is deleted."""
    await asyncio.sleep(random.uniform(0, city.intensity.load_seconds))
    image, title = await city.load.upload(), f"Edited {number}"
    await asyncio.sleep(random.choice((0, 0.05, 0.2, 0.5)))
    if random.random() < 0.6:
        await city.load.delete(image)
        return image, ""
    assert await city.load.edit(image, title) == 200
    return image, title


async def _upload_slowly(city: Deployment) -> str:
    """An upload of some kilobytes a second, as many as the server asks for; again, where it is asked to."""
    content = city.load.make_photo()
    request = _upload_request(content, str(uuid4()))
    while not (answer := await _send_slowly(city, request)).startswith(b"HTTP/1.1 201"):
        assert answer.startswith((b"HTTP/1.1 503", b"HTTP/1.1 409")), answer
    image = answer.lower().partition(b"\r\nlocation: ")[2].partition(b"\r\n")[0].decode().rpartition("/")[2]
    city.load.acknowledged[image] = hashlib.sha256(content).hexdigest()
    return image


async def _send_slowly(city: Deployment, request: bytes) -> bytes:
    async with _connect(city) as (reader, writer):
        for start in range(0, len(request), 4096):
            writer.write(request[start : start + 4096])
            await writer.drain()
            await asyncio.sleep(0.6)
        async with asyncio.timeout(30):
            return await reader.readuntil(b"\r\n\r\n")


def _upload_request(content: bytes, key: str) -> bytes:
    """A whole request, as it goes over the wire."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = part + content + b"\r\n--x--\r\n"
    head = (
        "POST /api/v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def _connect(city: Deployment) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(city.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _non_reading_clients(city: Deployment) -> AsyncIterator[None]:
    """Many who ask for the stream and never read it."""
    writers = []
    try:
        for _ in range(NON_READING_CLIENTS):
            reader, writer = await asyncio.open_connection(
                urlsplit(city.url).hostname, urlsplit(city.url).port, limit=1
            )
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


async def _wait_until_received(city: Deployment, crowd: list[ReceivedEvents]) -> None:
    """Whoever came early is told of each end; and all of them of the last one."""
    last = list(city.load.acknowledged)[-1]
    async with asyncio.timeout(120):
        while not all(any(image == last and type_ == "image.ready" for type_, image, _ in one.events) for one in crowd):
            await asyncio.sleep(0.2)


def _random_seconds() -> float:
    return random.uniform(0.5, 4)
