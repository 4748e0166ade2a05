"""A reconnecting client costs as much as it has missed, independent of other owners' events."""

import asyncio

import pytest

from block_stream import BlockStream
from gallery.access.model import SHARED_OWNER
from gallery.notifications.feed import Feed
from gallery.notifications.model import EventFilter
from gallery.notifications.replays import MAX_CONCURRENT_READS
from gallery.notifications.store import PAGE_SIZE, REPLAY, EventStore

INSERT_EVENTS = """
    INSERT INTO event (type, owner, image_id, version, data)
    SELECT 'image.updated', CASE WHEN i % 400 = 0 THEN 'everybody' ELSE 'victim' END, gen_random_uuid(), 1, '{}'
    FROM generate_series(1, $1::int) i
"""
EVENT_COUNT = 20_000


@pytest.fixture
async def gallery_with_events(gallery):
    """Fifty events of the shared owner among twenty thousand."""
    async with gallery.database.writing() as db:
        await db.execute(INSERT_EVENTS, EVENT_COUNT)
    await gallery.events.number_and_read(0)
    async with gallery.database.writing() as db:
        await db.execute("ANALYZE event")
    return gallery


async def test_a_replay_reads_only_its_owners_events(gallery_with_events):
    async with gallery_with_events.database.primary() as db:
        rows = await db.fetch(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {REPLAY}", SHARED_OWNER, 0, EVENT_COUNT, PAGE_SIZE
        )
    text = "\n".join(row[0] for row in rows)
    assert "Index Scan using event_of_owner " in text, text
    assert "Sort" not in text, text
    assert "Removed" not in text, text


async def replay(feed, last, wanted=None):
    """The replay of a reconnecting client, before it follows the feed."""
    stream, text = BlockStream(feed, last, wanted), b""
    try:
        async with asyncio.timeout(10):
            while b"id: %d\n" % EVENT_COUNT not in text:
                text += await anext(stream)
            return text
    finally:
        await stream.aclose()


async def test_a_replay_ends_with_the_id_of_the_last_event_read(gallery_with_events):
    """Otherwise the cursor of a client that wants few events, or none, would become too old."""
    await gallery_with_events.feed._start()
    block = await replay(gallery_with_events.feed, "20")
    assert block.count(b"event: image.updated") == EVENT_COUNT / 400
    assert block.endswith(b": heartbeat\nid: %d\n\n" % EVENT_COUNT)
    for wanted in (EventFilter("owner without events"), EventFilter(SHARED_OWNER, frozenset({"image.deleted"}))):
        block = await replay(gallery_with_events.feed, "20", wanted)
        assert block.endswith(b": heartbeat\nid: %d\n\n" % EVENT_COUNT)
        assert b"event:" not in block


class CountingEventStore(EventStore):
    """Counts the replays that read at once."""

    concurrent = max_concurrent = 0

    async def replay(self, owner, number, until):
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        try:
            await asyncio.sleep(0.01)
            return await super().replay(owner, number, until)
        finally:
            self.concurrent -= 1


async def test_few_replays_read_at_once(gallery_with_events):
    store = CountingEventStore(gallery_with_events.database)
    feed = Feed(
        store,
        gallery_with_events.valkey,
        gallery_with_events.feed._before_publish,
        gallery_with_events.access,
        gallery_with_events.change_tokens.set_caught_up,
        gallery_with_events.settings.notifications,
    )
    await feed._start()
    blocks = await asyncio.gather(*(replay(feed, "20") for _ in range(30)))
    assert len(set(blocks)) == 1
    assert store.max_concurrent == MAX_CONCURRENT_READS
