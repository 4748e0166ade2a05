"""A stream and a waiting request end with their credential."""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest

import gallery_processes
from credentials import bearer_headers, closed_application, create_api_key, create_ticket, make_token, run_command
from factories import listen, post, unique_photo
from gallery.access import keys, service, signing
from gallery.wiring import open_processing

MAYA = bearer_headers(make_token("maya"))


async def stream_duration(client: httpx.AsyncClient, within: float, headers=None, **query) -> float:
    """How long a stream lasts."""
    began = time.monotonic()
    async with (
        asyncio.timeout(within),
        client.stream("GET", "/api/v1/notifications/stream", params=query, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        text = (await answer.aread()).decode()
    assert text.count("retry:") == 2, "told when to come back"
    return time.monotonic() - began


async def test_a_stream_ends_with_its_token(settings):
    async with closed_application(settings) as (_, client):
        short = bearer_headers(make_token("maya", exp=int(time.time()) + 2))
        ticket = await create_ticket(client, headers=short)
        lasted = await asyncio.gather(stream_duration(client, 8, short), stream_duration(client, 8, ticket=ticket))
        assert max(lasted) < 3


async def test_a_stream_ends_with_its_key(settings, monkeypatch):
    monkeypatch.setattr(keys, "CACHE_SECONDS", 0.2)
    monkeypatch.setattr(service, "REVOCATION_CHECK_SECONDS", 0.2)
    async with closed_application(settings) as (gallery, client):
        key_id, text = await create_api_key(gallery)
        ticket = await create_ticket(client, headers=bearer_headers(text))
        streams = asyncio.gather(
            stream_duration(client, 8, bearer_headers(text)), stream_duration(client, 8, ticket=ticket)
        )
        await asyncio.sleep(0.5)
        assert gallery.feed.subscriber_count == 2
        await gallery.access.keys.revoke(key_id)
        await streams
        _, text = await create_api_key(gallery, lifetime=timedelta(seconds=1))
        await stream_duration(client, 8, bearer_headers(text))


def test_a_revocation_is_noticed_within_five_seconds():
    assert max(keys.CACHE_SECONDS, signing.CACHE_SECONDS) + service.REVOCATION_CHECK_SECONDS < 5


@pytest.mark.parametrize("given", [{}, {"GALLERY_SERVE__WORKERS": "2"}])
async def test_a_rotation_at_once_ends_the_streams_of_all_processes(environment, tmp_path, given):
    """By cookie and by ticket. A stream by the API key itself goes on, and so do all after an ordinary rotation."""
    closed = {**environment, "GALLERY_ACCESS__OPEN": "false", "GALLERY_RATE__ENABLED": "false", **given}
    _, key, _ = await run_command(closed, "keys", "create", "--owner", "maya", "--scope", "images:read")
    async with gallery_processes.api(closed, tmp_path) as api, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=api.url, timeout=20)) for _ in range(4)]
        by_key = bearer_headers(key.strip())
        await clients[0].post("/api/v1/session", headers=by_key)
        cookie = {"Cookie": f"gallery_session={clients[0].cookies['gallery_session']}"}
        ticket = await create_ticket(clients[0], headers=by_key)
        lasting = asyncio.create_task(stream_duration(clients[1], 30, by_key))
        ending = asyncio.gather(
            *(stream_duration(client, 30, cookie) for client in clients),
            *(stream_duration(client, 30, ticket=ticket) for client in clients),
        )
        assert (await run_command(closed, "keys", "rotate"))[0] == 0
        await asyncio.sleep(service.REVOCATION_CHECK_SECONDS + signing.CACHE_SECONDS + 0.5)
        assert not ending.done()
        assert (await run_command(closed, "keys", "rotate", "--at-once"))[0] == 0
        began = time.monotonic()
        await ending
        assert time.monotonic() - began < 5
        assert not lasting.done()
        lasting.cancel()


async def test_a_stream_leaves_nothing_behind(settings):
    """Its watch of the credential ends with it, whenever that is."""
    async with closed_application(settings) as (gallery, client):
        ticket = await create_ticket(client, MAYA)
        before = len(asyncio.all_tasks())
        for _ in range(3):
            async with listen(client, ticket=ticket):
                pass
        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before or gallery.feed.subscriber_count:
                await asyncio.sleep(0.02)


async def test_a_waiting_request_gets_no_newer_state_after_a_revocation(settings, monkeypatch):
    monkeypatch.setattr(keys, "CACHE_SECONDS", 0.2)
    monkeypatch.setattr(service, "REVOCATION_CHECK_SECONDS", 0.2)
    async with closed_application(settings) as (gallery, client):
        key_id, text = await create_api_key(gallery)
        waiting = asyncio.create_task(post(client, headers={**bearer_headers(text), "Prefer": "wait=30"}))
        async with asyncio.timeout(10):
            while not gallery.feed._waiters:
                await asyncio.sleep(0.02)
        await gallery.access.keys.revoke(key_id)
        await asyncio.sleep(0.1)
        async with open_processing(gallery, name="worker") as processing, gallery.database.primary() as db:
            monkeypatch.setattr(gallery.feed, "_wake_waiters", lambda events: None)
            await processing.process(await db.fetchval("SELECT id FROM image"))
        async with asyncio.timeout(5):
            answer = await waiting
        assert (answer.status_code, answer.json()["status"]) == (201, "PENDING")


async def test_an_upload_whose_key_is_revoked_meanwhile_is_refused(settings, monkeypatch):
    """A slow body may take hours."""
    monkeypatch.setattr(keys, "CACHE_SECONDS", 0.0)
    async with closed_application(settings) as (gallery, client):
        key_id, text = await create_api_key(gallery)
        whole = client.build_request("POST", "/api/v1/images", files={"file": ("lake.jpg", unique_photo())})
        content = whole.read()

        async def slowly():
            yield content[:100]
            await asyncio.sleep(0.5)  # let in
            await gallery.access.keys.revoke(key_id)
            yield content[100:]

        headers = {**bearer_headers(text), "Content-Type": whole.headers["content-type"]}
        answer = await client.post("/api/v1/images", content=slowly(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "credential_not_valid")
        async with gallery.database.primary() as db:
            assert await db.fetchval("SELECT count(*) FROM image") == 0
