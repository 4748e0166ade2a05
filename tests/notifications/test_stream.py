"""The stream over HTTP: every event once, in order, and continued after a reconnect."""

import asyncio
import gc
import json
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import httpx
import msgspec
import pytest

from block_stream import BlockStream
from conftest import running_application, serve_api
from factories import CALLER, listen, post, upload_image
from gallery.images.model import Edit
from gallery.notifications import store
from gallery.notifications.model import Event
from gallery.wiring import open_gallery


async def rename_image(gallery, image, times):
    for number in range(times):
        await gallery.images.edit(CALLER, image.id, Edit(title=str(number)))


async def test_a_client_gets_the_events_of_an_image_from_upload_to_ready(gallery, client, processing):
    async with listen(client) as maya:
        image = (await post(client, title="Lake")).json()
        await processing.process(image["id"])
        await maya.next("image.ready")
    assert maya.types == ["image.uploaded", "image.processing", "image.ready"]
    assert [data["version"] for data in maya.data()] == [1, 2, 3]
    ready = maya.data()[-1]
    assert (ready["imageId"], ready["status"], ready["title"]) == (image["id"], "READY", "Lake")
    assert ready["s3Url"] == f"/api/v1/images/{image['id']}/original"
    assert ready["timestamp"].endswith("Z")


@pytest.fixture
def no_polling(monkeypatch):
    monkeypatch.setattr("gallery.notifications.feed.POLL_SECONDS", 600)


async def test_wake_ups_are_enough_without_polling(no_polling, gallery, client):
    async with listen(client) as maya:
        for _ in range(5):
            await upload_image(gallery)
            await maya.next("image.uploaded")


async def test_they_do_not_depend_on_a_cache_with_its_own_server(no_polling, environment):
    """With one server for both, a wake-up is sent in the pipeline that invalidates the cache."""
    async with (
        running_application(environment, GALLERY_CACHE__URL="redis://127.0.0.1:1") as (_, client),
        listen(client) as maya,
    ):
        for _ in range(5):
            await post(client)
            await maya.next("image.uploaded")


async def test_an_event_without_a_wake_up_is_delivered(gallery, client):
    image = await upload_image(gallery)
    async with listen(client) as maya:
        async with gallery.database.writing() as db:
            await store.add(db, Event("image.updated", CALLER.owner, image.id, 9, b'{"silent": true}'))
        assert (await maya.next("image.updated", seconds=5)).data == '{"silent": true}'


async def test_a_reconnecting_client_is_replayed_from_its_last_event(gallery, client):
    image = await upload_image(gallery)
    async with listen(client) as maya:
        await rename_image(gallery, image, 3)
        last = [await maya.next("image.updated") for _ in range(3)][-1].id
    await rename_image(gallery, image, 4)
    async with listen(client, last_event_id=last) as maya:
        received = [await maya.next() for _ in range(4)]
        await rename_image(gallery, image, 1)
        received.append(await maya.next())
    assert [json.loads(event.data)["title"] for event in received] == ["0", "1", "2", "3", "0"]
    assert [int(event.id) for event in received] == [int(last) + n for n in range(1, 6)]


async def test_the_cursor_can_be_in_the_url(gallery, client):
    image = await upload_image(gallery)
    await rename_image(gallery, image, 2)
    async with listen(client, lastEventId="0") as maya:
        assert [(await maya.next()).id for _ in range(3)] == ["1", "2", "3"]


async def test_a_long_replay_has_no_gaps_while_events_go_on(gallery, client):
    image = await upload_image(gallery)
    async with gallery.database.writing() as db:
        for number in range(1500):
            await store.add(db, Event("image.updated", CALLER.owner, image.id, number, b"{}"))
    async with listen(client, lastEventId="0") as maya:
        changing = asyncio.create_task(rename_image(gallery, image, 30))
        received = [int((await maya.next()).id) for _ in range(1531)]
        await changing
    assert received == list(range(1, 1532))


@pytest.mark.parametrize("cursor", ["nonsense", "-1", "999999", "1e3", "", "٣", "9" * 40])
async def test_an_invalid_cursor_is_reset(gallery, client, cursor):
    await upload_image(gallery)
    async with listen(client, lastEventId=cursor) as maya:
        assert (await maya.next()).event == "reset"
        await upload_image(gallery)
        assert (await maya.next()).event == "image.uploaded"


async def test_a_cursor_that_is_no_longer_kept_is_reset(gallery, client):
    image = await upload_image(gallery)
    await rename_image(gallery, image, 3)
    await gallery.events.number_and_read(0)
    async with gallery.database.writing() as db:
        await db.execute("DELETE FROM event WHERE number <= 2")
        await db.execute("UPDATE event_numbers SET floor = 2")
    async with asyncio.timeout(10):
        while gallery.feed._recent.floor < 2:  # the reader learns it with its next look
            await asyncio.sleep(0.02)
    async with listen(client, lastEventId="1") as maya:
        assert (await maya.next()).event == "reset"
    async with listen(client, lastEventId="2") as maya:
        assert (await maya.next()).id == "3"


async def test_only_requested_events_are_sent(gallery, client):
    one, other = await upload_image(gallery), await upload_image(gallery)
    async with listen(client, types="image.updated", imageId=one.id) as maya:
        await rename_image(gallery, other, 1)
        await gallery.images.delete(CALLER, other.id)
        await rename_image(gallery, one, 1)
        assert json.loads((await maya.next()).data)["imageId"] == one.id
    assert maya.types == ["image.updated"]


async def test_events_of_other_owners_are_not_sent(gallery, client):
    async with listen(client) as maya:
        async with gallery.database.writing() as db:
            await store.add(db, Event("image.updated", "another owner", str(uuid.uuid4()), 1, b"{}"))
        await upload_image(gallery)
        assert (await maya.next()).event == "image.uploaded"


@pytest.mark.parametrize("query", [{"types": "image.eaten"}, {"imageId": "x"}])
async def test_an_invalid_query_is_refused_at_once(client, query):
    answer = await client.get("/api/v1/notifications/stream", params=query)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_field"


async def test_heartbeats_keep_the_cursor_of_a_filtered_stream_recent(settings):
    often = msgspec.structs.replace(settings.notifications, heartbeat=0.1)
    async with (
        open_gallery(msgspec.structs.replace(settings, notifications=often)) as gallery,
        serve_api(gallery) as url,
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/api/v1/notifications/stream", params={"types": "image.deleted"}) as answer,
    ):
        image = await upload_image(gallery)
        await rename_image(gallery, image, 2)
        text = ""
        async with asyncio.timeout(10):
            async for chunk in answer.aiter_text():
                text += chunk
                if ": heartbeat\nid: 3\n\n" in text:
                    break
        assert text.startswith("retry: 3000\nid: 0\n\n")
        assert "event:" not in text


async def test_a_client_that_does_not_read_is_aborted_and_does_not_disturb_others(settings):
    notifications = msgspec.structs.replace(settings.notifications, patience=1)
    async with (
        open_gallery(msgspec.structs.replace(settings, notifications=notifications)) as gallery,
        serve_api(gallery) as url,
        AsyncExitStack() as stack,
    ):
        stack.enter_context(without_gc())
        host, port = url.removeprefix("http://").split(":")
        sleeper = stack.enter_context(socket.create_connection((host, int(port))))
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.sendall(b"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async with httpx.AsyncClient(base_url=url) as client, listen(client) as maya:
            while gallery.feed.subscriber_count < 2:
                await asyncio.sleep(0.01)
            image = await upload_image(gallery)
            waiting = asyncio.create_task(maya.next("image.deleted", seconds=60))
            async with asyncio.timeout(60):
                while gallery.feed.subscriber_count == 2:
                    async with gallery.database.writing() as db:
                        for _ in range(10):
                            await store.add(
                                db, Event("image.updated", CALLER.owner, image.id, 1, b'"%s"' % (b"x" * 50_000))
                            )
                    await gallery.events.number_and_read(0)
                    await asyncio.sleep(0.05)
            await gallery.images.delete(CALLER, image.id)
            await waiting


@contextmanager
def without_gc() -> Iterator[None]:
    """No stream is closed only because it happens to be collected."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_all_streams_end_before_the_server(gallery):
    async with serve_api(gallery) as url, httpx.AsyncClient(base_url=url) as client:
        async with listen(client) as maya:
            gallery.feed.end()
            with pytest.raises(StopAsyncIteration):
                await maya.next()
        async with listen(client) as late:
            with pytest.raises(StopAsyncIteration):
                await late.next()
    assert gallery.feed.subscriber_count == 0


async def test_disconnected_clients_are_removed(gallery, client):
    for _ in range(3):
        async with listen(client):
            pass
    async with asyncio.timeout(5):
        while gallery.feed.subscriber_count:
            await asyncio.sleep(0.02)


async def test_a_subscriber_that_falls_too_far_behind_ends_and_is_replayed(settings):
    small = msgspec.structs.replace(settings.notifications, backlog=5)
    async with open_gallery(msgspec.structs.replace(settings, notifications=small)) as gallery:
        image = await upload_image(gallery)
        feed = asyncio.create_task(gallery.feed.run())
        stream = BlockStream(gallery.feed)
        await anext(stream)
        await rename_image(gallery, image, 20)  # while the stream is not read
        async with asyncio.timeout(10):
            await stream.subscriber.wait_until_ended()
            text = b"".join([block async for block in stream])
            taken = [int(n) for n in re.findall(rb"id: (\d+)\nevent", text)]
            assert taken == list(range(taken[0], 1 + taken[-1])), "nothing is left out before the end"
            assert taken[-1] < 21
            replay, text = BlockStream(gallery.feed, "1"), b""
            while text.count(b"event: image.updated") < 20:
                text += await anext(replay)
        await replay.aclose()
        feed.cancel()
    assert [int(n) for n in re.findall(rb"id: (\d+)\nevent", text)] == list(range(2, 22))


async def test_a_client_ahead_of_this_process_gets_no_event_twice(gallery, settings):
    """Another process was quicker: its client connects here with a number that this reader has not read yet."""
    image = await upload_image(gallery)
    await rename_image(gallery, image, 3)
    await gallery.events.number_and_read(0)
    slow = gallery.feed  # it has read nothing so far
    slow._started.set()
    stream = BlockStream(slow, "4")
    assert (await anext(stream)).startswith(b"retry:")
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.1)
    feed = asyncio.create_task(slow._read())
    await rename_image(gallery, image, 1)
    async with asyncio.timeout(10):
        assert b"id: 5\n" in await waiting
    feed.cancel()
    await stream.aclose()


async def test_a_client_that_connects_before_the_reader_starts_misses_nothing(gallery):
    """A process has just been started, and the clients of its predecessor are already back."""
    image = await upload_image(gallery)
    await rename_image(gallery, image, 3)
    await gallery.events.number_and_read(0)
    stream = BlockStream(gallery.feed, "1")
    text, waiting = b"", asyncio.create_task(anext(stream))
    await asyncio.sleep(0.1)
    feed = asyncio.create_task(gallery.feed.run())
    async with asyncio.timeout(10):
        text += await waiting
        await rename_image(gallery, image, 1)
        while text.count(b"event: image.updated") < 4:
            text += await anext(stream)
    feed.cancel()
    await stream.aclose()
    assert [int(n) for n in re.findall(rb"id: (\d+)\nevent", text)] == [2, 3, 4, 5]


async def test_changes_before_the_start_of_the_process_are_not_new_to_its_clients(gallery):
    """They were made while no process ran, so nothing has numbered them yet."""
    image = await upload_image(gallery)
    await rename_image(gallery, image, 600)
    feed = asyncio.create_task(gallery.feed.run())
    stream = BlockStream(gallery.feed)
    async with asyncio.timeout(20):
        text = await anext(stream)
        await rename_image(gallery, image, 1)
        while b"event: " not in text:
            text += await anext(stream)
    feed.cancel()
    await stream.aclose()
    assert [int(n) for n in re.findall(rb"id: (\d+)\nevent", text)] == [602]


async def test_a_client_gets_keep_alives_until_the_reader_starts(settings):
    soon = msgspec.structs.replace(settings.notifications, heartbeat=0.05)
    async with open_gallery(msgspec.structs.replace(settings, notifications=soon)) as gallery:
        stream = BlockStream(gallery.feed)
        assert await anext(stream) == b": waiting\n\n"
        gallery.feed.end()
        async with asyncio.timeout(5):
            assert all([block == b": waiting\n\n" async for block in stream])
