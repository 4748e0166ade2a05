"""The body of a stream: the events that the feed writes, and its end."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

import structlog

from gallery.access.model import Caller
from gallery.background import cancel_and_wait
from gallery.notifications.feed import Feed
from gallery.notifications.model import EventFilter
from gallery.notifications.sinks import ClientTransport, Send, make_block, open_sink
from gallery.notifications.stream_limits import StreamSlot
from gallery.notifications.subscriber import Subscriber
from gallery.settings import NotificationsSettings

log = structlog.get_logger(__name__)

Receive: TypeAlias = Callable[[], Awaitable[Any]]  # of ASGI


class Follow(NamedTuple):
    """What a client asks for."""

    event_filter: EventFilter
    caller: Caller
    last_event_id: str | None


class Connection(NamedTuple):
    """What Gallery's own server tells of a connection; `None` of other servers."""

    transport: ClientTransport | None
    abort: Callable[[], None] | None


class StreamBody(NamedTuple):
    """Ends when the client disconnects; aborts when it does not read."""

    feed: Feed
    follow: Follow
    settings: NotificationsSettings
    slot: StreamSlot
    connection: Connection

    async def __call__(self, receive: Receive, send: Send) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await self._listen(receive, send)
        finally:
            self.slot.release()
            log.debug("stream.ended", seconds=round(asyncio.get_running_loop().time() - began, 1))

    async def _listen(self, receive: Receive, send: Send) -> None:
        event_filter, caller, last_event_id = self.follow
        sink = open_sink(self.connection.transport, send)
        subscriber = Subscriber(event_filter, caller, sink, self.settings.backlog)
        gone = asyncio.ensure_future(_wait_for_disconnect(receive))
        gone.add_done_callback(lambda _: subscriber.end())
        try:
            await self.feed.listen(subscriber, last_event_id)
            if not gone.done():
                await self._end(subscriber, send)
        finally:
            await cancel_and_wait(gone)
            await sink.close()

    async def _end(self, subscriber: Subscriber, send: Send) -> None:
        """Close the response in order, or cut the connection of a client that does not read."""
        try:
            if not subscriber.aborted:
                async with asyncio.timeout(self.settings.patience):
                    subscriber.sink.write(make_block(_closing_frame()))
                    await subscriber.sink.drain()
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
        except TimeoutError:
            pass
        log.info("stream.slow_reader")
        if self.connection.abort is not None:
            self.connection.abort()


def _closing_frame() -> bytes:
    """The pause before the client reconnects, random so that not all come back at once."""
    return b"retry: %d\n\n" % random.randint(500, 3000)  # noqa: S311  not a secret


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
