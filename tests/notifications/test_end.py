"""A feed that has ended does not keep its process running."""

import asyncio
from contextlib import asynccontextmanager, suppress

from gallery.notifications.feed import Feed


class IgnoresCancellation:
    """A Valkey whose client takes a cancellation for a time-out, as a real one has done under load."""

    @asynccontextmanager
    async def subscription(self, channel):
        async def receive(seconds):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

        yield receive


async def do_nothing(events):
    pass


async def test_a_swallowed_cancellation_does_not_keep_a_process_running(gallery):
    feed = Feed(
        gallery.events,
        IgnoresCancellation(),
        do_nothing,
        gallery.access,
        lambda _: None,
        gallery.settings.notifications,
    )
    running = asyncio.create_task(feed.run())
    await asyncio.sleep(0.1)
    feed.end()
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=5)
    assert ended
