"""Replays: the events that a returning client has missed, from memory, and the older ones from the table."""

import asyncio

from gallery.notifications.model import heartbeat_frame, reset_frame
from gallery.notifications.recent_events import RecentEvents
from gallery.notifications.sinks import Block, make_block
from gallery.notifications.store import PAGE_SIZE, EventStore
from gallery.notifications.subscriber import Subscriber

MAX_CONCURRENT_READS = 4  # pages read at once for returning clients: requests need connections too


class Replays:
    def __init__(self, store: EventStore, recent: RecentEvents, patience: float) -> None:
        self._store = store
        self._recent = recent
        self._patience = patience
        self._reads = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def replay(self, subscriber: Subscriber, last_event_id: str) -> None:
        """Write what the client has missed. On return it has all events that this process has read.

        Nothing is awaited between the last look and the return, so that it can follow from there without a gap. A
        client that does not read for long is ended. Raises `DatabaseUnavailable`.
        """
        seen = _parse_number(last_event_id)
        if seen is None or not (self._recent.covers(seen) or await self._is_kept(seen)):
            subscriber.after = self._recent.head
            subscriber.write(make_block(reset_frame(subscriber.after)))
            return
        subscriber.after = seen  # another process may have sent it more than this one has read
        while subscriber.after < self._recent.head and not subscriber.ended:
            block, subscriber.after = await self._next_page(subscriber)
            subscriber.write(block)
            await self._wait_for_reader(subscriber)

    async def _is_kept(self, number: int) -> bool:
        """Whether the table has all events after `number`, and `number` has been assigned."""
        async with self._reads:
            head, floor = await self._store.bounds()
        return floor <= number <= head

    async def _next_page(self, subscriber: Subscriber) -> tuple[Block, int]:
        """The next page, with a heartbeat that carries the number up to which it was read, and that number."""
        if self._recent.covers(subscriber.after):
            return self._recent.page(subscriber.event_filter, subscriber.after)
        until = self._recent.head
        async with self._reads:
            events = await self._store.replay(subscriber.event_filter.owner, subscriber.after, until)
        number = events[-1].number if len(events) == PAGE_SIZE else until
        return make_block(subscriber.event_filter.frames(events) + heartbeat_frame(number)), number

    async def _wait_for_reader(self, subscriber: Subscriber) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await subscriber.sink.drain()
        except TimeoutError:
            subscriber.abort()


def _parse_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
