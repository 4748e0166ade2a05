"""Clients that break off, crawl, do not read, come and go, and change their minds; and rings that come too often."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import redis.asyncio as redis

from faults.city import NOTHING, City, survives
from faults.load import Heard, listen
from gallery.images.jobs import PROCESS
from gallery.jobs.queue import Ring
from gallery.settings import Settings
from gallery.wiring import open_gallery

SHARES = (0.1, 0.5, 0.99, 1.0)  # of a body
SLOW = 100  # clients at once
MUTE = 50


async def test_clients_break_off_in_the_middle_of_their_uploads(city):
    """What they sent is there whole or not at all; with their key they get one image in the end."""

    async def fault(city: City) -> None:
        for share in SHARES * 3:
            content, key = city.load.a_photo(), str(uuid4())
            city.load.abandoned.add(hashlib.sha256(content).hexdigest())
            async with _connected(city) as (_, writer):
                request = _upload(content, key)
                head = request.index(b"\r\n\r\n") + 4
                writer.write(request[: head + round((len(request) - head) * share)])
                await writer.drain()
                await asyncio.sleep(random.choice((0, 0.02)))
            if random.random() < 0.5:
                await city.load.upload(content)

    await survives(city, fault)


async def test_many_uploads_crawl(city):
    """They take connections and spools, and nobody else waits for them; in the end they are answered."""

    async def fault(city: City) -> None:
        ids = await asyncio.gather(*(_crawl(city) for _ in range(SLOW)))
        assert len(set(ids)) == SLOW

    await survives(city, fault)


async def test_listeners_come_and_go_through_everything_and_some_never_read(city):
    """Two hundred who leave whenever they like, while the API, Valkey's memory and all connections are lost."""

    async def fault(city: City) -> None:
        crowd = [Heard() for _ in range(city.form.crowd)]
        going = [asyncio.create_task(listen(city.url, one, _a_while)) for one in crowd]
        try:
            async with _mute(city):
                await asyncio.sleep(city.form.load / 3)
                await _lose_all_but_rows(city)
            async with _mute(city):
                await asyncio.sleep(city.form.load * 2 / 3)
                await _all_have_heard(city, crowd)
        finally:
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)
        for one in crowd:
            assert one.resets == 0
            assert one.ids == sorted(set(one.ids))
        assert max(one.connections for one in crowd) > 1

    await survives(city, fault)


async def test_deletes_and_edits_race_the_workers(city):
    """A delete wins whenever it comes; an edit keeps its title; and versions only rise."""

    async def fault(city: City) -> None:
        titles = dict(await asyncio.gather(*(_race(city, number) for number in range(city.form.races))))
        async with open_gallery(Settings.read(city.direct)) as gallery, gallery.database.primary() as db:
            found = {row["id"]: row["title"] for row in await db.fetch("SELECT id::text, title FROM image")}
        assert {image: found[image] for image in titles if titles[image]} == {i: t for i, t in titles.items() if t}

    await survives(city, fault)


async def test_every_job_is_delivered_three_times(city):
    async def fault(city: City) -> None:
        async with open_gallery(Settings.read(city.direct)) as gallery:
            known: set[str] = set()
            for _ in range(round(city.form.load * 10)):
                more = set(city.load.acknowledged) - known
                await gallery.queue.ring_all([Ring(PROCESS, i, turn=100 + n) for i in more for n in range(3)])
                known |= more
                await asyncio.sleep(0.1)
            async with gallery.database.primary() as db:
                attempts = await db.fetchval("SELECT max(attempt) FROM image")
        assert attempts == 1, "one of all deliveries was the one"

    await survives(city, fault, workers=[NOTHING] * 4)


async def _lose_all_but_rows(city: City) -> None:
    async with redis.from_url(city.direct["REDIS_URL"]) as valkey:
        await valkey.flushall()
    for cable in (city.database, city.valkey, city.store):
        cable.cut()
    await city.stop_api()
    await city.start_api()


async def _race(city: City, number: int) -> tuple[str, str]:
    """An image, and the title that it must have in the end; none where it is deleted."""
    await asyncio.sleep(random.uniform(0, city.form.load))
    image, title = await city.load.upload(), f"Edited {number}"
    await asyncio.sleep(random.choice((0, 0.05, 0.2, 0.5)))
    if random.random() < 0.6:
        await city.load.delete(image)
        return image, ""
    assert await city.load.edit(image, title) == 200
    return image, title


async def _crawl(city: City) -> str:
    """An upload of some kilobytes a second, as many as the server asks for; again, where it is asked to."""
    content = city.load.a_photo()
    request = _upload(content, str(uuid4()))
    while not (answer := await _answer_to(city, request)).startswith(b"HTTP/1.1 201"):
        assert answer.startswith((b"HTTP/1.1 503", b"HTTP/1.1 409")), answer
    image = answer.lower().partition(b"\r\nlocation: ")[2].partition(b"\r\n")[0].decode().rpartition("/")[2]
    city.load.acknowledged[image] = hashlib.sha256(content).hexdigest()
    return image


async def _answer_to(city: City, request: bytes) -> bytes:
    async with _connected(city) as (reader, writer):
        for start in range(0, len(request), 4096):
            writer.write(request[start : start + 4096])
            await writer.drain()
            await asyncio.sleep(0.6)
        async with asyncio.timeout(30):
            return await reader.readuntil(b"\r\n\r\n")


def _upload(content: bytes, key: str) -> bytes:
    """A whole request, as it goes over the wire."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = part + content + b"\r\n--x--\r\n"
    head = (
        "POST /api/v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def _connected(city: City) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(city.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _mute(city: City) -> AsyncIterator[None]:
    """Many who ask for the stream and never read it."""
    writers = []
    try:
        for _ in range(MUTE):
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


async def _all_have_heard(city: City, crowd: list[Heard]) -> None:
    """Whoever came early is told of each end; and all of them of the last one."""
    last = list(city.load.acknowledged)[-1]
    async with asyncio.timeout(120):
        while not all(any(image == last and type_ == "image.ready" for type_, image, _ in one.events) for one in crowd):
            await asyncio.sleep(0.2)


def _a_while() -> float:
    return random.uniform(0.5, 4)
