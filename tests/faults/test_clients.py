"""Clients that break off, send slowly, do not read, reconnect, delete and edit; and jobs that come too often."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import redis.asyncio as redis

from faults.deployment import NO_SETTINGS, Deployment, check_survives
from faults.intensity import in_full_only
from faults.load import ReceivedEvents, listen
from gallery.images.jobs import PROCESS_JOB
from gallery.jobs.queue import Job
from gallery.settings import Settings
from gallery.wiring import open_gallery

BODY_SHARES = (0.1, 0.5, 0.99, 1.0)  # of a body that is sent
SLOW_CLIENTS = 100  # at the same time
NON_READING_CLIENTS = 50


async def test_clients_break_off_during_their_uploads(deployment):
    """A broken-off upload is stored whole or not at all; repeated with its key it makes one image."""

    async def fault(deployment: Deployment) -> None:
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


@in_full_only
async def test_many_uploads_are_slow(deployment):
    """They use connections and spools but delay no other client; in the end they are answered."""

    async def fault(deployment: Deployment) -> None:
        ids = await asyncio.gather(*(_upload_slowly(deployment) for _ in range(SLOW_CLIENTS)))
        assert len(set(ids)) == SLOW_CLIENTS

    await check_survives(deployment, fault)


@in_full_only
async def test_listeners_reconnect_through_all_failures_and_some_never_read(deployment):
    """Two hundred listeners reconnect at random, while the API, Valkey's memory and all connections are lost."""

    async def fault(deployment: Deployment) -> None:
        listeners = [ReceivedEvents() for _ in range(deployment.intensity.listeners)]
        tasks = [asyncio.create_task(listen(deployment.url, received, _random_seconds)) for received in listeners]
        try:
            async with _non_reading_clients(deployment):
                await asyncio.sleep(deployment.intensity.load_seconds / 3)
                await _flush_valkey_and_restart(deployment)
            async with _non_reading_clients(deployment):
                await asyncio.sleep(deployment.intensity.load_seconds * 2 / 3)
                await _wait_until_received(deployment, listeners)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for received in listeners:
            assert received.resets == 0
            assert received.ids == sorted(set(received.ids))
        assert max(received.connections for received in listeners) > 1

    await check_survives(deployment, fault)


@in_full_only
async def test_deletes_and_edits_race_the_workers(deployment):
    """A delete always wins; an edit keeps its title; versions only rise."""

    async def fault(deployment: Deployment) -> None:
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


@in_full_only
async def test_every_job_is_delivered_three_times(deployment):
    async def fault(deployment: Deployment) -> None:
        async with open_gallery(Settings.read(deployment.direct_environment)) as gallery:
            enqueued: set[str] = set()
            for _ in range(round(deployment.intensity.load_seconds * 10)):
                more = set(deployment.load.acknowledged) - enqueued
                await gallery.queue.enqueue_all(
                    [Job(PROCESS_JOB, i, dedup_key=100 + n) for i in more for n in range(3)]
                )
                enqueued |= more
                await asyncio.sleep(0.1)
            async with gallery.database.primary() as db:
                attempts = await db.fetchval("SELECT max(attempt) FROM image")
        assert attempts == 1, "only one delivery may start an attempt"

    await check_survives(deployment, fault, workers=[NO_SETTINGS] * 4)


async def _flush_valkey_and_restart(deployment: Deployment) -> None:
    async with redis.from_url(deployment.direct_environment["REDIS_URL"]) as valkey:
        await valkey.flushall()
    for proxy in (deployment.database, deployment.valkey, deployment.store):
        proxy.reset_connections()
    await deployment.stop_api()
    await deployment.start_api()


async def _race_worker(deployment: Deployment, number: int) -> tuple[str, str]:
    """An image, and its expected title in the end; empty if it is deleted."""
    await asyncio.sleep(random.uniform(0, deployment.intensity.load_seconds))
    image, title = await deployment.load.upload(), f"Edited {number}"
    await asyncio.sleep(random.choice((0, 0.05, 0.2, 0.5)))
    if random.random() < 0.6:
        await deployment.load.delete(image)
        return image, ""
    assert await deployment.load.edit(image, title) == 200
    return image, title


async def _upload_slowly(deployment: Deployment) -> str:
    """Upload some kilobytes per second, no slower than the server allows; repeats when the server asks for it."""
    content = deployment.load.make_photo()
    request = _upload_request(content, str(uuid4()))
    while not (answer := await _send_slowly(deployment, request)).startswith(b"HTTP/1.1 201"):
        assert answer.startswith((b"HTTP/1.1 503", b"HTTP/1.1 409")), answer
    image = answer.lower().partition(b"\r\nlocation: ")[2].partition(b"\r\n")[0].decode().rpartition("/")[2]
    deployment.load.acknowledged[image] = hashlib.sha256(content).hexdigest()
    return image


async def _send_slowly(deployment: Deployment, request: bytes) -> bytes:
    async with _connect(deployment) as (reader, writer):
        for start in range(0, len(request), 4096):
            writer.write(request[start : start + 4096])
            await writer.drain()
            await asyncio.sleep(0.6)
        async with asyncio.timeout(30):
            return await reader.readuntil(b"\r\n\r\n")


def _upload_request(content: bytes, key: str) -> bytes:
    """A whole request in bytes."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = part + content + b"\r\n--x--\r\n"
    head = (
        "POST /api/v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def _connect(deployment: Deployment) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(deployment.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _non_reading_clients(deployment: Deployment) -> AsyncIterator[None]:
    """Many clients that open the stream and never read it."""
    writers = []
    try:
        for _ in range(NON_READING_CLIENTS):
            reader, writer = await asyncio.open_connection(
                urlsplit(deployment.url).hostname, urlsplit(deployment.url).port, limit=1
            )
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


async def _wait_until_received(deployment: Deployment, listeners: list[ReceivedEvents]) -> None:
    """Wait until all listeners have the `image.ready` of the last upload."""
    last = list(deployment.load.acknowledged)[-1]
    async with asyncio.timeout(120):
        while not all(
            any(image == last and type_ == "image.ready" for type_, image, _ in received.events)
            for received in listeners
        ):
            await asyncio.sleep(0.2)


def _random_seconds() -> float:
    return random.uniform(0.5, 4)
