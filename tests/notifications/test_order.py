"""Event numbers: in the order of commits and without gaps, with any number of sequencers."""

import asyncio
import random
import re
import uuid
from datetime import timedelta

from block_stream import BlockStream
from gallery.notifications import store
from gallery.notifications.feed import Feed
from gallery.notifications.model import Event
from gallery.wiring import open_gallery

IMAGE = str(uuid.uuid4())


def make_event(data: str = "0") -> Event:
    return Event("image.updated", "everybody", IMAGE, 1, data.encode())


async def read_numbers(gallery):
    return [(e.number, e.event.data) for e in await gallery.events.read_after(0)]


async def test_a_slow_transaction_is_not_skipped(gallery):
    async with gallery.database.writing() as slow:
        await store.add(slow, make_event('"slow"'))
        async with gallery.database.writing() as quick:
            await store.add(quick, make_event('"quick"'))
        await gallery.events.number_and_read(0)
        assert await read_numbers(gallery) == [(1, b'"quick"')]
    await gallery.events.number_and_read(0)
    assert await read_numbers(gallery) == [(1, b'"quick"'), (2, b'"slow"')]


async def test_many_writers_and_readers_see_one_order_without_gaps(gallery):
    """Fifty writers with random delays before their commits, two sequencers, three readers."""
    total, each = 500, 10
    seen: list[list[int]] = [[], [], []]

    async def write(writer: int) -> None:
        for number in range(each):
            async with gallery.database.writing() as db:
                await store.add(db, make_event(f"{writer * each + number}"))
                await asyncio.sleep(random.random() * 0.02)

    async def sequence() -> None:
        while len(seen[0]) < total:
            await gallery.events.number_and_read(0)
            await asyncio.sleep(0.001)

    async def read(mine: list[int]) -> None:
        while len(mine) < total:
            mine.extend([e.number for e in await gallery.events.read_after(mine[-1] if mine else 0)])
            await asyncio.sleep(0.002)

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(n) for n in range(50)), sequence(), sequence(), *(read(mine) for mine in seen))
    assert seen == [list(range(1, total + 1))] * 3
    assert sorted(int(data) for _, data in await read_numbers(gallery)) == list(range(total))


async def test_fifty_writers_and_twenty_streams_in_two_processes(gallery, settings):
    """All streams get the same events, with ids without a gap, in any order of the transactions' ends."""
    total, each = 300, 6

    async def write(writer: int) -> None:
        for number in range(each):
            async with gallery.database.writing() as db:
                await store.add(db, make_event(f"{writer * each + number}"))
                await asyncio.sleep(random.random() * 0.05)
            await gallery.outbox._wake_ups.notify()

    async def stream(feed: Feed) -> list[tuple[int, int]]:
        received, text = [], b""
        async for block in (listening := BlockStream(feed, "0")):
            text += block
            received = [(int(n), int(data)) for n, data in re.findall(rb"id: (\d+)\nevent: .*\ndata: (\d+)\n", text)]
            if len(received) >= total:
                break
        await listening.aclose()
        return received

    async with open_gallery(settings) as other, asyncio.timeout(60):
        running = [asyncio.create_task(application.feed.run()) for application in (gallery, other)]
        streams = [asyncio.create_task(stream(application.feed)) for application in (gallery, other) for _ in range(10)]
        await asyncio.gather(*(write(n) for n in range(50)))
        received = await asyncio.gather(*streams)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert received == [received[0]] * 20
    assert [number for number, _ in received[0]] == list(range(1, total + 1))
    assert sorted(data for _, data in received[0]) == list(range(total))


async def test_expired_events_leave_the_numbers_rising(gallery):
    async with gallery.database.writing() as db:
        for _ in range(3):
            await store.add(db, make_event())
    await gallery.events.number_and_read(0)
    async with gallery.database.writing() as db:
        await db.execute("UPDATE event SET created_at = now() - interval '2 days'")
    await gallery.events.expire(timedelta(days=1))
    assert await gallery.events.bounds() == (3, 3)
    async with gallery.database.writing() as db:
        await store.add(db, make_event())
    await gallery.events.number_and_read(0)
    assert [number for number, _ in await read_numbers(gallery)] == [4]
