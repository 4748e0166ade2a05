"""A client of a feed without HTTP, which takes block after block."""

import asyncio
from typing import Any, Self

from gallery.access.model import OPEN_MODE_CALLER, Caller
from gallery.background import cancel_and_wait
from gallery.notifications.feed import Feed
from gallery.notifications.model import EventFilter
from gallery.notifications.sinks import BufferedSink
from gallery.notifications.subscriber import Subscriber

NOTHING = b""


class BlockStream:
    """The blocks that a feed writes, each when the test asks for it; events of the shared owner by default."""

    def __init__(
        self,
        feed: Feed,
        last_event_id: str | None = None,
        event_filter: EventFilter | None = None,
        caller: Caller = OPEN_MODE_CALLER,
    ) -> None:
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue(1)
        event_filter = event_filter or EventFilter(caller.owner)
        sink = BufferedSink(self._send)
        self.subscriber = Subscriber(event_filter, caller, sink, feed._settings.backlog)
        self._listening = asyncio.create_task(feed.listen(self.subscriber, last_event_id))
        self._listening.add_done_callback(lambda _: asyncio.ensure_future(self._end()))

    async def _send(self, message: Any) -> None:
        await self._blocks.put(message["body"])

    async def _end(self) -> None:
        await self.subscriber.sink.drain()
        await self._blocks.put(NOTHING)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        block = await self._blocks.get()
        if block == NOTHING:
            await self._listening
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        await cancel_and_wait(self._listening)
        await self.subscriber.sink.close()
