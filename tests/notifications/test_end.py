"""A feed that has been ended lets its process go."""

import asyncio
from contextlib import asynccontextmanager, suppress

from gallery.notifications.feed import Feed


class IgnoresCancellation:
    """A Valkey whose client takes a cancellation for a time-out, as one has been seen to do under load."""

    @asynccontextmanager
    async def subscription(self, channel):
        async def heard(seconds):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

        yield heard


async def do_nothing(events):
    pass


async def test_a_swallowed_cancellation_does_not_keep_a_process(gallery):
    feed = Feed(gallery.events, IgnoresCancellation(), do_nothing, gallery.settings.notifications)
    running = asyncio.create_task(feed.run())
    await asyncio.sleep(0.1)
    feed.end()
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=5)
    assert ended
