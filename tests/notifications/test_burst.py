"""Twenty thousand events at once: clients that read get all of them, and a client that does not is closed alone."""

import asyncio
import re
import socket
from contextlib import asynccontextmanager

import msgspec
import pytest

from block_stream import BlockStream
from conftest import serve_api
from gallery.access.model import OPEN_MODE_CALLER, SHARED_OWNER
from gallery.notifications.model import Event, EventFilter, NumberedEvent
from gallery.notifications.sinks import make_block
from gallery.notifications.subscriber import Subscriber, wait_until_caught_up
from gallery.wiring import open_gallery

EVENT_COUNT = 20_000
INSERT_EVENTS = """
    INSERT INTO event (type, owner, image_id, version, data)
    SELECT 'image.updated', 'everybody', '00000000-0000-0000-0000-000000000001', 1, to_json(repeat('x', 500))
    FROM generate_series(1, $1::int)
"""
REQUEST = b"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def read_numbers(port):
    """The numbers of the events on one connection, until all have arrived or it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    found, rest, end = [], b"", 0
    while len(found) < EVENT_COUNT and (chunk := await reader.read(1 << 20)):
        rest += chunk
        for event in list(re.finditer(rb"id: (\d+)\nevent: ", rest)):
            found.append(int(event[1]))
            end = event.end()
        rest, end = rest[end:], 0
    writer.close()
    return found


@asynccontextmanager
async def non_reading_client(port):
    """A client that opens the stream and never reads."""
    with socket.create_connection(("127.0.0.1", port)) as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.sendall(REQUEST)
        yield


async def test_reading_clients_get_the_whole_burst_and_a_slow_one_is_closed_alone(settings):
    notifications = msgspec.structs.replace(settings.notifications, patience=1)
    settings = msgspec.structs.replace(settings, notifications=notifications)
    async with open_gallery(settings) as gallery, serve_api(gallery) as url:
        port = int(url.rpartition(":")[2])
        async with non_reading_client(port):
            reading = [asyncio.create_task(read_numbers(port)) for _ in range(3)]
            async with asyncio.timeout(10):
                while gallery.feed.subscriber_count < 4:
                    await asyncio.sleep(0.01)
            async with gallery.database.writing() as db:
                await db.execute(INSERT_EVENTS, EVENT_COUNT)
            async with asyncio.timeout(60):
                received = await asyncio.gather(*reading)
                while gallery.feed.subscriber_count:
                    await asyncio.sleep(0.05)
    for found in received:
        assert found == list(range(1, EVENT_COUNT + 1)), "each once, in order, over one connection"


async def test_a_client_with_some_delay_keeps_up_with_a_burst(gallery):
    """Each block takes it 30 ms: longer than the feed needs for the next page."""
    feed = asyncio.create_task(gallery.feed.run())
    stream, found = BlockStream(gallery.feed), []
    await anext(stream)
    async with gallery.database.writing() as db:
        await db.execute(INSERT_EVENTS, 10_000)
    async with asyncio.timeout(30):
        while len(found) < 10_000:
            found += map(int, re.findall(rb"id: (\d+)\nevent: ", await anext(stream)))
            await asyncio.sleep(0.03)
    feed.cancel()
    await stream.aclose()
    assert found == list(range(1, 10_001))


class ClientThatReadsWhenTold:
    """A sink whose bytes wait until `read`."""

    def __init__(self):
        self.waiting = 0
        self.numbers = []

    def write(self, block):
        self.waiting += len(block.text)
        self.numbers += map(int, re.findall(rb"id: (\d+)\nevent", block.text))
        return len(block.text)

    def read(self, size=None):
        self.waiting -= self.waiting if size is None else size


@pytest.fixture
async def subscriber(gallery):
    """A subscriber with a backlog of one event."""
    subscriber = Subscriber(EventFilter(SHARED_OWNER), OPEN_MODE_CALLER, ClientThatReadsWhenTold(), 1000)
    push(subscriber, 1)
    return subscriber


def push(subscriber, number, count=1):
    event = NumberedEvent(number, Event("image.updated", SHARED_OWNER, "x", 1, b"{}"))
    subscriber.push(make_block(event.frame()), count)


async def measure_seconds(work):
    began = asyncio.get_running_loop().time()
    await work
    return asyncio.get_running_loop().time() - began


async def test_the_feed_waits_once_for_a_client_that_reads_nothing(subscriber):
    assert 0.05 < await measure_seconds(wait_until_caught_up([subscriber])) < 1
    assert await measure_seconds(wait_until_caught_up([subscriber])) < 0.05
    subscriber.sink.read()
    push(subscriber, 2)
    assert 0.05 < await measure_seconds(wait_until_caught_up([subscriber])) < 1, "it has read something meanwhile"


async def test_an_ended_subscriber_gets_nothing_more(subscriber):
    subscriber.end()
    push(subscriber, 2)
    assert subscriber.sink.numbers == [1]


async def test_only_events_that_wait_count_as_backlog(subscriber):
    """A client on a slow line never catches up, but reads all the time: it stays below its backlog."""
    size = subscriber.sink.waiting
    for number in range(2, 3000):
        push(subscriber, number)
        subscriber.sink.read(size if number > 900 else 0)
        size = len(b"id: %d\nevent: image.updated\ndata: {}\n\n" % max(1, number - 899))
    assert not subscriber.ended
    push(subscriber, 3000, count=200)
    assert subscriber.ended
    assert subscriber.sink.numbers == list(range(1, 3000))


async def test_a_client_that_takes_nothing_has_stalled(subscriber):
    now = asyncio.get_running_loop().time()
    assert not subscriber.has_stalled(now + 1, 20)
    assert subscriber.has_stalled(now + 21, 20)
    subscriber.sink.read(1)
    assert not subscriber.has_stalled(now + 30, 20), "it has taken a byte"
    assert not subscriber.has_stalled(now + 50, 20)
    assert subscriber.has_stalled(now + 51, 20)
    subscriber.sink.read()
    assert not subscriber.has_stalled(now + 99, 20), "nothing waits"
