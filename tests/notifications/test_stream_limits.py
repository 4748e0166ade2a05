"""Streams are limited per caller and per process, and the process always answers its probes."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

import gallery_processes
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, create_api_key, create_ticket, make_token
from factories import listen, upload_image
from scraping import scrape

STREAM = "/api/v1/notifications/stream"
CLOSED_MODE = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}
TWO_STREAMS = {"GALLERY_NOTIFICATIONS__MAX_STREAMS_PER_CALLER": "2"}
MAX_FILES = 256


async def stream_status(client, headers=None, **query):
    """The status of the answer to a stream request, which is closed at once."""
    async with client.stream("GET", STREAM, headers=headers, params=query) as answer:
        return answer.status_code


async def test_the_limit_of_a_caller_counts_all_its_credentials(environment):
    async with (
        running_application(environment, **CLOSED_MODE, **TWO_STREAMS) as (application, client),
        AsyncExitStack() as stack,
    ):
        _, text = await create_api_key(application)
        ticket = await create_ticket(client, bearer_headers(text))
        before = (await scrape_as_admin(client)).value("sse_refused_total", limit="caller")
        await stack.enter_async_context(client.stream("GET", STREAM, headers=bearer_headers(text)))
        async with client.stream("GET", STREAM, params={"ticket": ticket}):
            refused = await client.get(STREAM, headers=bearer_headers(text))
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert 5 <= int(refused.headers["retry-after"]) <= 15
            assert await stream_status(client, ticket=ticket) == 429
            assert await stream_status(client, bearer_headers(make_token("nils"))) == 200, "others have their own"
        async with asyncio.timeout(5):
            while await stream_status(client, bearer_headers(text)) != 200:
                await asyncio.sleep(0.05)
        after = (await scrape_as_admin(client)).value("sse_refused_total", limit="caller")
        assert after >= before + 2


async def scrape_as_admin(client):
    return await scrape(client, headers=bearer_headers(make_token("root", "admin")))


@pytest.mark.parametrize(
    ("given", "third"),
    [
        (TWO_STREAMS, 429),
        ({**TWO_STREAMS, "GALLERY_RATE__ENABLED": "false"}, 200),
        ({"GALLERY_NOTIFICATIONS__MAX_STREAMS": "2"}, 503),
        ({"GALLERY_NOTIFICATIONS__MAX_STREAMS": "2", "GALLERY_RATE__ENABLED": "false"}, 503),
        ({}, 200),
    ],
)
async def test_the_third_stream_in_open_mode(environment, given, third):
    async with running_application(environment, **given) as (_, client), listen(client), listen(client):
        assert await stream_status(client) == third


@pytest.mark.parametrize(("given", "limit"), [({}, None), ({"GALLERY_RATE__ENABLED": "true"}, 100), (CLOSED_MODE, 100)])
async def test_limited_callers_have_a_hundred_streams_by_default(environment, given, limit):
    headers = bearer_headers(make_token("maya")) if given is CLOSED_MODE else None
    async with running_application(environment, **given) as (_, client), AsyncExitStack() as stack:
        many = await stack.enter_async_context(unbounded_client(client.base_url))
        for _ in range(100):
            answer = await stack.enter_async_context(many.stream("GET", STREAM, headers=headers))
            assert answer.status_code == 200
        assert await stream_status(client, headers) == (200 if limit is None else 429)


@asynccontextmanager
async def unbounded_client(url):
    """A client without a limit of connections."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=20, limits=limits) as client:
        yield client


async def test_a_full_process_sends_retry_after(environment):
    one = {"GALLERY_NOTIFICATIONS__MAX_STREAMS": "1"}
    async with running_application(environment, **one) as (gallery, client), listen(client) as maya:
        refused = await client.get(STREAM)
        assert (refused.status_code, refused.json()["code"]) == (503, "streams_full")
        assert int(refused.headers["retry-after"]) >= 5
        await upload_image(gallery)
        assert (await maya.next()).event == "image.uploaded"


# --- a real process with few files ------------------------------------------------------------------------------------


@asynccontextmanager
async def probe_livez(url):
    """Requests `/livez` over new connections all the time; each answer has to be 200, within three seconds."""
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
    given = {**environment, **CLOSED_MODE, "GALLERY_NOTIFICATIONS__MAX_STREAMS_PER_CALLER": "1000"}
    async with (
        gallery_processes.api(given, tmp_path, max_files=MAX_FILES) as api,
        unbounded_client(api.url) as client,
        probe_livez(api.url),
        AsyncExitStack() as stack,
    ):
        found = []
        for _ in range(300):
            answer = await stack.enter_async_context(
                client.stream("GET", STREAM, headers=bearer_headers(make_token("maya")))
            )
            found.append(answer.status_code)
        assert found == [200] * (MAX_FILES // 2) + [503] * (300 - MAX_FILES // 2)
        await asyncio.sleep(1)
        assert (await client.get("/api/v1/images", headers=bearer_headers(make_token("nils")))).status_code == 200


async def open_raw(url, text):
    """A new connection on which this text was sent, and which stays open."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text)
    await writer.drain()
    return reader, writer


async def test_idle_connections_are_closed_for_new_ones(environment, tmp_path):
    async with gallery_processes.api(environment, tmp_path, max_files=MAX_FILES) as api, probe_livez(api.url):
        kept = []
        for _ in range(400):
            reader, writer = await open_raw(api.url, b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in await reader.readline()
            kept.append(writer)
        await asyncio.sleep(1)
        for writer in kept:
            writer.close()


async def test_slow_uploads_do_not_block_probes(environment, tmp_path):
    """When a tenth of the files is in use, further requests are refused with `Retry-After`."""
    head = (
        b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    async with gallery_processes.api(environment, tmp_path, max_files=MAX_FILES) as api, probe_livez(api.url):
        slow = [await open_raw(api.url, head) for _ in range(MAX_FILES // 10)]
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
