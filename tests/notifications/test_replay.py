"""A client that comes back costs what it has missed, however much others have done meanwhile."""

import asyncio

import pytest

from gallery.access.model import EVERYBODY
from gallery.notifications import feed as feeds
from gallery.notifications.feed import Feed
from gallery.notifications.model import Filter
from gallery.notifications.store import PAGE, REPLAY, EventStore

FILL = """
    INSERT INTO event (type, owner, image_id, version, data)
    SELECT 'image.updated', CASE WHEN i % 400 = 0 THEN 'everybody' ELSE 'victim' END, gen_random_uuid(), 1, '{}'
    FROM generate_series(1, $1::int) i
"""
MANY = 20_000


@pytest.fixture
async def full(gallery):
    """Fifty events of ours among twenty thousand."""
    async with gallery.database.writing() as db:
        await db.execute(FILL, MANY)
    await gallery.events.number()
    async with gallery.database.writing() as db:
        await db.execute("ANALYZE event")
    return gallery


async def test_a_replay_reads_its_owners_events_alone(full):
    async with full.database.primary() as db:
        rows = await db.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {REPLAY}", EVERYBODY, 0, MANY, PAGE)
    text = "\n".join(row[0] for row in rows)
    assert "Index Scan using event_of_owner " in text, text
    assert "Sort" not in text, text
    assert "Removed" not in text, text


async def replayed(feed, last, wanted=None):
    """What a returning client is sent before it follows the feed."""
    stream = feed.listen(wanted or Filter(EVERYBODY), last)
    assert (await anext(stream)).startswith(b"retry:")
    try:
        async with asyncio.timeout(5):
            return await anext(stream)
    finally:
        await stream.aclose()


async def test_a_replay_ends_with_the_id_of_all_that_was_looked_at(full):
    """Otherwise the cursor of a client that wants few events, or none, would grow old."""
    await full.feed._start()
    block = await replayed(full.feed, "20")
    assert block.count(b"event: image.updated") == MANY / 400
    assert block.endswith(b": heartbeat\nid: %d\n\n" % MANY)
    block = await replayed(full.feed, "20", Filter("nobody with events"))
    assert block == b": heartbeat\nid: %d\n\n" % MANY
    block = await replayed(full.feed, "20", Filter(EVERYBODY, frozenset({"image.deleted"})))
    assert block == b": heartbeat\nid: %d\n\n" % MANY


class Counting(EventStore):
    """Knows how many replays read at once."""

    now = most = 0

    async def replay(self, owner, number, until):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.01)
            return await super().replay(owner, number, until)
        finally:
            self.now -= 1


async def test_few_replays_read_at_once(full):
    store = Counting(full.database)
    feed = Feed(store, full.valkey, full.feed._before, full.settings.notifications)
    await feed._start()
    blocks = await asyncio.gather(*(replayed(feed, "20") for _ in range(30)))
    assert len(set(blocks)) == 1
    assert store.most == feeds.MAX_REPLAYS
