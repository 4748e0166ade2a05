"""Streams are bounded, for each caller and for each process, and the process always answers its probes."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

import processes
from cast import listening, uploaded
from conftest import housed
from doors import SECRET, a_key, a_ticket, a_token, shown
from scrape import scraped

STREAM = "/api/v1/notifications/stream"
CLOSED = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": SECRET}
TWO = {"GALLERY_NOTIFICATIONS__MAX_STREAMS_PER_CALLER": "2"}
FILES = 256


async def status(client, headers=None, **query):
    """What a stream is answered with; it is closed at once."""
    async with client.stream("GET", STREAM, headers=headers, params=query) as answer:
        return answer.status_code


async def test_a_caller_has_so_many_streams_by_whatever_credential(environment):
    async with housed(environment, **CLOSED, **TWO) as (house, client), AsyncExitStack() as stack:
        _, text = await a_key(house)
        ticket = await a_ticket(client, shown(text))
        before = (await scraped_by_admin(client)).value("sse_refused_total", limit="caller")
        await stack.enter_async_context(client.stream("GET", STREAM, headers=shown(text)))
        async with client.stream("GET", STREAM, params={"ticket": ticket}):
            refused = await client.get(STREAM, headers=shown(text))
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert 5 <= int(refused.headers["retry-after"]) <= 15
            assert await status(client, ticket=ticket) == 429
            assert await status(client, shown(a_token("nils"))) == 200, "others have their own"
        async with asyncio.timeout(5):
            while await status(client, shown(text)) != 200:
                await asyncio.sleep(0.05)
        after = (await scraped_by_admin(client)).value("sse_refused_total", limit="caller")
        assert after >= before + 2


async def scraped_by_admin(client):
    return await scraped(client, headers=shown(a_token("root", "admin")))


@pytest.mark.parametrize(
    ("given", "third"),
    [
        (TWO, 429),
        ({**TWO, "GALLERY_RATE__ENABLED": "false"}, 200),
        ({"GALLERY_NOTIFICATIONS__MAX_STREAMS": "2"}, 503),
        ({"GALLERY_NOTIFICATIONS__MAX_STREAMS": "2", "GALLERY_RATE__ENABLED": "false"}, 503),
        ({}, 200),
    ],
)
async def test_the_third_stream_in_an_open_house(environment, given, third):
    async with housed(environment, **given) as (_, client), listening(client), listening(client):
        assert await status(client) == third


@pytest.mark.parametrize(("given", "most"), [({}, None), ({"GALLERY_RATE__ENABLED": "true"}, 100), (CLOSED, 100)])
async def test_a_hundred_streams_are_the_default_where_callers_are_limited(environment, given, most):
    headers = shown(a_token("maya")) if given is CLOSED else None
    async with housed(environment, **given) as (_, client), AsyncExitStack() as stack:
        many = await stack.enter_async_context(unbounded(client.base_url))
        for _ in range(100):
            answer = await stack.enter_async_context(many.stream("GET", STREAM, headers=headers))
            assert answer.status_code == 200
        assert await status(client, headers) == (200 if most is None else 429)


@asynccontextmanager
async def unbounded(url):
    """A client that opens as many connections as it is asked for."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=20, limits=limits) as client:
        yield client


async def test_a_full_process_says_when_to_come_back(environment):
    one = {"GALLERY_NOTIFICATIONS__MAX_STREAMS": "1"}
    async with housed(environment, **one) as (gallery, client), listening(client) as maya:
        refused = await client.get(STREAM)
        assert (refused.status_code, refused.json()["code"]) == (503, "streams_full")
        assert int(refused.headers["retry-after"]) >= 5
        await uploaded(gallery)
        assert (await maya.next()).event == "image.uploaded"


# --- a real process with few files ------------------------------------------------------------------------------------


@asynccontextmanager
async def probed(url):
    """Asks `/livez` over a new connection all the while; each answer has to be 200, and soon."""
    slowest, seen = 0.0, 0

    async def probe():
        nonlocal slowest, seen
        while True:
            began = time.monotonic()
            async with httpx.AsyncClient(base_url=url, timeout=5) as fresh:
                assert (await fresh.get("/livez")).status_code == 200
            slowest, seen = max(slowest, time.monotonic() - began), seen + 1
            await asyncio.sleep(0.05)

    probing = asyncio.create_task(probe())
    try:
        yield
        if probing.done():
            await probing
    finally:
        probing.cancel()
    assert seen
    assert slowest < 3


async def test_a_process_answers_its_probes_while_one_caller_opens_streams(environment, tmp_path):
    given = {**environment, **CLOSED, "GALLERY_NOTIFICATIONS__MAX_STREAMS_PER_CALLER": "1000"}
    async with (
        processes.api(given, tmp_path, files=FILES) as api,
        unbounded(api.url) as client,
        probed(api.url),
        AsyncExitStack() as stack,
    ):
        found = []
        for _ in range(300):
            answer = await stack.enter_async_context(client.stream("GET", STREAM, headers=shown(a_token("maya"))))
            found.append(answer.status_code)
        assert found == [200] * (FILES // 2) + [503] * (300 - FILES // 2)
        await asyncio.sleep(1)
        assert (await client.get("/api/v1/images", headers=shown(a_token("nils")))).status_code == 200


async def raw(url, text):
    """A connection of its own that has sent this, and stays."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text)
    await writer.drain()
    return reader, writer


async def test_idle_connections_make_room(environment, tmp_path):
    async with processes.api(environment, tmp_path, files=FILES) as api, probed(api.url):
        kept = []
        for _ in range(400):
            reader, writer = await raw(api.url, b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in await reader.readline()
            kept.append(writer)
        await asyncio.sleep(1)
        for writer in kept:
            writer.close()


async def test_slow_uploads_leave_room_for_probes(environment, tmp_path):
    """Beyond a tenth of the files each further request is told to come back."""
    head = (
        b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    async with processes.api(environment, tmp_path, files=FILES) as api, probed(api.url):
        slow = [await raw(api.url, head) for _ in range(FILES // 10)]
        await asyncio.sleep(0.5)
        async with httpx.AsyncClient(base_url=api.url) as client:
            refused = await client.get("/api/v1/images")
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            slow.pop()[1].close()
            async with asyncio.timeout(10):
                while (await client.get("/api/v1/images")).status_code != 200:
                    await asyncio.sleep(0.05)
        for _, writer in slow:
            writer.close()
