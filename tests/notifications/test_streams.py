"""Many streams at once: each event once and in order, while streams open, heartbeats are due and credentials expire."""

import asyncio
import gc
import re
import time
from contextlib import ExitStack

import httptools
import httpx
import msgspec
import pytest
from litestar import Request

from block_stream import BlockStream
from conftest import serve_api
from factories import upload_image
from gallery.access.model import OPEN_MODE_CALLER, SHARED_OWNER
from gallery.notifications import recent_events
from gallery.notifications.feed import Feed
from gallery.notifications.model import Event, EventFilter, NumberedEvent
from gallery.notifications.recent_events import RecentEvents
from gallery.notifications.sinks import make_block
from gallery.notifications.store import EventStore
from gallery.notifications.streams import WRITES_AT_ONCE, Streams
from gallery.notifications.subscriber import Subscriber
from gallery.web.middleware.requests import RequestRecord
from gallery.wiring import open_gallery
from raw_http import RawResponse

STREAM = b"/api/v1/notifications/stream"
INSERT_EVENTS = """
    INSERT INTO event (type, owner, image_id, version, data)
    SELECT 'image.updated', 'everybody', gen_random_uuid(), 1, '{}' FROM generate_series(1, $1::int)
"""


class RecordingSink:
    """A client that takes all at once."""

    waiting = 0

    def __init__(self):
        self.text = b""

    def write(self, block):
        self.text += block.text
        return len(block.text)

    async def drain(self):
        pass


@pytest.fixture
def recent():
    return RecentEvents()


@pytest.fixture
def streams(recent, gallery):
    return Streams(recent, gallery.access, msgspec.structs.replace(gallery.settings.notifications, heartbeat=0.001))


@pytest.fixture
def follow(streams):
    """A function that opens streams which follow the feed."""
    with ExitStack() as stack:

        def follow(count=1, event_filter=None, caller=OPEN_MODE_CALLER):
            event_filter = event_filter or EventFilter(SHARED_OWNER)
            found = [Subscriber(event_filter, caller, RecordingSink(), 1000) for _ in range(count)]
            for subscriber in found:
                streams.open(subscriber)
                stack.callback(streams.close, subscriber)
                streams.follow(subscriber)
            return found

        yield follow


def make_events(first, count=1, owner=SHARED_OWNER):
    return [
        NumberedEvent(number, Event("image.updated", owner, f"image {number}", 1, b"{}"))
        for number in range(first, first + count)
    ]


def event_ids(text):
    """The numbers of the events, in the order in which a client gets them."""
    return list(map(int, re.findall(rb"id: (\d+)\nevent: ", text)))


async def test_no_heartbeat_passes_an_event(streams, follow):
    """A heartbeat carries the head: before its event, a client that breaks off there would lose the event."""
    followers = follow(10 * WRITES_AT_ONCE)
    followers += follow(
        10 * WRITES_AT_ONCE, EventFilter(SHARED_OWNER, frozenset({"image.updated"}))
    )  # the second block
    looking = asyncio.create_task(streams.run())
    for number in range(1, 6):
        await streams.publish(make_events(number))
        await asyncio.sleep(0.002)
    looking.cancel()
    for follower in followers:
        assert event_ids(follower.sink.text) == list(range(1, 6))
        seen = 0
        for number, kind in re.findall(rb"id: (\d+)\n(event)?", follower.sink.text):
            seen = int(number) if kind else seen
            assert int(number) == seen, "the heartbeat of an event that comes after it"
    assert any(b"heartbeat" in follower.sink.text for follower in followers), "else this shows nothing"


async def test_a_client_that_begins_to_follow_while_events_are_written_gets_none_twice(recent, streams, follow):
    follow(3 * WRITES_AT_ONCE)
    publishing = asyncio.create_task(streams.publish(make_events(1)))
    while recent.head < 1:
        await asyncio.sleep(0)
    late = follow()[0]  # it has read the new head, and got the event by its replay
    assert not publishing.done()
    await publishing
    await streams.publish(make_events(2))
    assert event_ids(late.sink.text) == [2]


async def test_a_client_that_another_process_has_sent_more_gets_only_newer_events(streams, follow):
    ahead = follow()[0]
    ahead.after = 2
    await streams.publish(make_events(1, 3))
    assert event_ids(ahead.sink.text) == [3]


async def test_events_go_to_the_filters_that_match(streams, follow):
    filters = [
        EventFilter(SHARED_OWNER, image_id="image 2"),
        EventFilter(SHARED_OWNER, frozenset({"image.deleted"})),
        EventFilter("other"),
        EventFilter(SHARED_OWNER),
    ]
    followers = [follow(event_filter=event_filter)[0] for event_filter in filters]
    await streams.publish([*make_events(1, 3), *make_events(4, 1, "other")])
    assert [event_ids(s.sink.text) for s in followers] == [[2], [], [4], [1, 2, 3]]


async def test_a_stream_that_is_over_is_not_written_to(streams, follow):
    left, stays = follow(2)
    left.end()
    await streams.publish(make_events(1))
    left.write(make_block(b": heartbeat\n\n"))
    assert (left.sink.text, event_ids(stays.sink.text)) == (b"", [1])


async def test_one_look_ends_the_expired_streams(streams, follow):
    soon = msgspec.structs.replace(OPEN_MODE_CALLER, expires_at=time.time() + 0.2)
    expiring, lasting = follow(caller=soon)[0], follow()[0]
    looking = asyncio.create_task(streams.run())
    await asyncio.sleep(0.1)
    assert not expiring.ended
    async with asyncio.timeout(5):
        await expiring.wait_until_ended()
    assert not lasting.ended
    looking.cancel()


# --- the newest events ------------------------------------------------------------------------------------------------


def test_the_newest_events_are_kept_up_to_a_number_and_a_size(recent, monkeypatch):
    monkeypatch.setattr(recent_events, "MAX_EVENTS", 100)
    monkeypatch.setattr(recent_events, "MAX_BYTES", 1000)
    for first in range(1, 1000, 10):
        recent.append(make_events(first, 10))
        assert recent.covers(recent.head)
        assert min(recent.head, 75) <= recent.head - recent.floor <= 100
        assert not recent.covers(recent.floor - 1)
        block, until = recent.page(EventFilter(SHARED_OWNER), recent.floor)
        assert event_ids(block.text) == list(range(recent.floor + 1, recent.head + 1))
        assert until == recent.head
    monkeypatch.setattr(recent_events, "MAX_BYTES", 20)
    recent.append(make_events(1001))
    assert recent.head - recent.floor <= 10


def test_events_that_are_no_longer_kept_are_dropped(recent):
    recent.append(make_events(1, 10))
    recent.drop_until(4)
    recent.drop_until(3)
    assert [recent.covers(number) for number in (3, 4, 10, 11)] == [False, True, True, False]
    assert event_ids(recent.page(EventFilter(SHARED_OWNER), 6)[0].text) == [7, 8, 9, 10]
    recent.drop_until(99)
    assert recent.covers(10)
    recent.append(make_events(11))
    assert event_ids(recent.page(EventFilter(SHARED_OWNER), 10)[0].text) == [11]


class CountingEventStore(EventStore):
    """Counts the queries for replays."""

    queries = 0

    async def bounds(self):
        self.queries += 1
        return await super().bounds()

    async def replay(self, owner, number, until):
        self.queries += 1
        return await super().replay(owner, number, until)


async def insert_events(gallery, count):
    async with gallery.database.writing() as db:
        await db.execute(INSERT_EVENTS, count)


async def read_until(feed, last, number):
    """All that a client gets up to that number."""
    stream, text = BlockStream(feed, last), b""
    async with asyncio.timeout(30):
        while b"id: %d\n" % number not in text:
            text += await anext(stream)
    await stream.aclose()
    return text


async def test_clients_that_return_after_a_restart_cost_no_query(gallery):
    await insert_events(gallery, 1500)
    await gallery.events.number_and_read(0)
    store = CountingEventStore(gallery.database)
    notifications = gallery.settings.notifications
    feed = Feed(store, gallery.valkey, gallery.outbox.invalidate_events, gallery.access, lambda _: None, notifications)
    await feed._start()
    before = store.queries
    for last in (0, 1, 700, 1499):
        assert event_ids(await read_until(feed, str(last), 1500)) == list(range(last + 1, 1501))
    assert store.queries == before


async def test_a_replay_goes_on_from_the_table_into_memory_while_events_arrive(gallery, monkeypatch):
    monkeypatch.setattr(recent_events, "MAX_EVENTS", 40)
    await insert_events(gallery, 1200)
    await gallery.events.number_and_read(0)
    running = asyncio.create_task(gallery.feed.run())

    async def write():
        for _ in range(60):
            await insert_events(gallery, 10)
            await gallery.outbox._wake_ups.notify()

    async def read(last):
        await asyncio.sleep(last % 100 / 300)
        return event_ids(await read_until(gallery.feed, str(last), 1800))

    writing = asyncio.create_task(write())
    received = await asyncio.gather(*(read(last) for last in range(0, 1200, 37)))
    await writing
    running.cancel()
    assert received == [list(range(last + 1, 1801)) for last in range(0, 1200, 37)]


# --- the bytes on a connection ----------------------------------------------------------------------------------------


async def test_the_next_response_on_a_connection_follows_the_stream(settings):
    """The chunks that the feed writes itself and those of the server make one valid response."""
    often = msgspec.structs.replace(settings.notifications, heartbeat=0.05)
    async with (
        open_gallery(msgspec.structs.replace(settings, notifications=often)) as gallery,
        serve_api(gallery) as url,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        for request in (b"HEAD " + STREAM, b"GET " + STREAM, b"GET /livez"):
            writer.write(b"%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        async with asyncio.timeout(10):
            data = await reader.readuntil(b"heartbeat")
            await upload_image(gallery)
            data += await reader.readuntil(b"event: image.uploaded")
            data += await reader.readuntil(b"heartbeat")
            gallery.feed.end()
            stream = RawResponse()
            parser = httptools.HttpResponseParser(stream)
            while b"\r\n0\r\n\r\nHTTP/1.1" not in data:
                data += await reader.read(65536)
        end = data.index(b"\r\n0\r\n\r\nHTTP/1.1") + 7
        parser.feed_data(data[:end])
        assert parser.get_status_code() == 200
        assert stream.body.startswith(b"retry: 3000\nid: 0\n\n: heartbeat")
        assert stream.body.count(b"event: ") == 1
        assert re.search(rb"\n\nretry: \d+\n\n$", stream.body)
        assert data[end:].startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_an_open_stream_keeps_nothing_of_its_request(settings):
    """Ten thousand requests would take hundreds of megabytes."""
    async with open_gallery(settings) as gallery, serve_api(gallery) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % STREAM)
        async with asyncio.timeout(10):
            await reader.readuntil(b"retry: 3000\nid: 0\n\n")
            gc.collect()
            kept = [o for o in gc.get_objects() if isinstance(o, (Request, RequestRecord))]
            await upload_image(gallery)
            await reader.readuntil(b"event: image.uploaded")
        assert kept == []
        writer.close()
