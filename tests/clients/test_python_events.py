"""Events by the Python client."""

import asyncio
from contextlib import aclosing

import pytest

from clients_proxy import canned, proxy_to
from factories import upload_image
from gallery_client import GalleryError
from gallery_client.event_stream import EventStream

STREAM = (
    b"\xef\xbb\xbfretry: 1500\nid: 6\n\n: heartbeat\n\n"
    b'id: 7\r\nevent: image.ready\r\ndata: {"imageId":"a",\r\ndata:"status":"READY","version":3,"more":1}\r\n\r\n'
    b'id: 8\revent: image.updated\rdata: {"imageId":"a","title":"\xe2\x80\xa8\xc2\x85"}\r\r'
    b'id: 9\nevent: reset\ndata: {"head":"9"}\n\nid: 10\nevent: image.failed\ndata: {"imageId":"b"}\n'
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_in_blocks_of_any_size(size):
    stream = EventStream(None)
    events = [event for start in range(0, len(STREAM), size) for event in stream.feed(STREAM[start : start + size])]
    assert [(event.id, event.type, event.image_id) for event in events] == [
        ("7", "image.ready", "a"),
        ("8", "image.updated", "a"),
        ("9", "reset", None),
    ]
    assert (events[0].status, events[0].version) == ("READY", 3)
    assert events[1].title == "\u2028\x85"
    assert stream.retry == 1.5
    assert stream.last_event_id == "9", "the event that did not end comes again"
    stream.begin()
    assert [event.id for event in stream.feed(b"data: {}\n\n")] == ["9"]


async def collect(events, until: int) -> list[tuple[str, str | None]]:
    found = []
    async with asyncio.timeout(30), aclosing(events):
        async for event in events:
            found.append((event.type, event.title))
            if len(found) == until:
                break
    return found


async def wait_for_stream(proxy) -> None:
    async with asyncio.timeout(10):
        while not any("stream" in request for request in proxy.requests):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)


async def test_the_events_of_an_upload_come_in_order(far_kit, kit, proxy, photo):
    listening = asyncio.create_task(collect(far_kit.events(types=["image.uploaded", "image.ready"]), 2))
    await wait_for_stream(proxy)
    await kit.wait(await kit.upload(photo, title="Lake"))
    assert await listening == [("image.uploaded", "Lake"), ("image.ready", "Lake")]


async def test_each_event_comes_once_over_breaks(gallery, client, connect):
    titles = [f"{n}" for n in range(12)]
    async with proxy_to(str(client.base_url)) as proxy, connect(proxy.url) as kit:
        listening = asyncio.create_task(collect(kit.events(), len(titles)))
        await wait_for_stream(proxy)
        for title in titles:
            await upload_image(gallery, title=title)
            if int(title) % 4 == 1:
                await asyncio.sleep(0.3)
                proxy.break_all()
            if title == "5":
                proxy.answers = [canned(503, Retry_After="0"), canned(429, Retry_After="0")]
        assert await listening == [("image.uploaded", title) for title in titles]
    assert len([request for request in proxy.requests if "stream" in request]) >= 4


async def test_events_of_one_image_after_an_event(gallery, client, connect):
    first, other = await upload_image(gallery, title="first"), await upload_image(gallery, title="other")
    async with connect(str(client.base_url)) as kit:
        await kit.edit(other.id, title="second")
        await kit.edit(first.id, title="third")
        events = kit.events(image=first.id, last_event_id="0")
        assert await collect(events, 2) == [("image.uploaded", "first"), ("image.updated", "third")]
        assert await collect(kit.events(last_event_id="12345"), 1) == [("reset", None)]


async def test_a_stream_that_is_refused_raises(client, connect):
    async with connect(str(client.base_url)) as kit:
        with pytest.raises(GalleryError) as caught:
            await collect(kit.events(types=["image.painted"]), 1)
    assert (caught.value.status, caught.value.code) == (422, "invalid_field")
