"""The reader of events in this process, and its subscribers.

The reader numbers new events, reads them once, awaits `before_publish` (which invalidates the cache) and hands them to
the subscribers. A subscriber replays missed events from the table and then follows the reader; one that does not keep
up is closed, reconnects with its last id, and misses nothing.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import NamedTuple, TypeAlias

import structlog

from gallery.adapters.valkey.client import Valkey
from gallery.background import cancel_and_wait
from gallery.errors import DatabaseUnavailable, ValkeyUnavailable
from gallery.notifications.model import Event, EventFilter, NumberedEvent, heartbeat_frame, reset_frame
from gallery.notifications.store import PAGE_SIZE, EventStore
from gallery.notifications.subscriber import Subscriber, wait_until_caught_up
from gallery.notifications.wake_ups import CHANNEL
from gallery.ops import metrics
from gallery.settings import NotificationsSettings

log = structlog.get_logger(__name__)

BeforePublish: TypeAlias = Callable[[Sequence[Event]], Awaitable[None]]

POLL_SECONDS = 1.0  # without a wake-up
SEQUENCER_RETRY_SECONDS = 0.02  # while another process is numbering
MAX_CONCURRENT_REPLAYS = 4  # pages read at once for reconnecting clients: requests need connections too


class Feed:
    def __init__(
        self, store: EventStore, valkey: Valkey, before_publish: BeforePublish, settings: NotificationsSettings
    ) -> None:
        self._store = store
        self._valkey = valkey
        self._before_publish = before_publish
        self._settings = settings
        self._subscribers: set[Subscriber] = set()
        self._waiters: dict[str, list[Waiter]] = {}
        self._head = 0
        self._replays = asyncio.Semaphore(MAX_CONCURRENT_REPLAYS)
        self._started = asyncio.Event()
        self._wake_up = asyncio.Event()
        self._ended = False

    async def listen(
        self,
        event_filter: EventFilter,
        last_event_id: str | None,
        until_expired: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events for one client: blocks of bytes, each to be sent at once, until either side ends it.

        The stream ends when `until_expired` returns: then the caller's credential is no longer valid.
        """
        async for block in self._wait_until_started():
            yield block
        subscriber = Subscriber(event_filter, self._head, self._settings.backlog)
        self._subscribers.add(subscriber)
        metrics.STREAMS.add(1)
        watch = asyncio.ensure_future(until_expired()) if until_expired else None
        if watch:
            watch.add_done_callback(lambda _: subscriber.end())
        if self._ended:
            subscriber.end()
        try:
            yield _opening_frame(subscriber.seen if last_event_id is None else None)
            if last_event_id is not None:
                async for block in self._replay(subscriber, subscriber.seen, last_event_id):
                    yield block
            async for block in subscriber.blocks(self._settings.heartbeat):
                yield block
            yield _closing_frame()
        finally:
            self._subscribers.discard(subscriber)
            metrics.STREAMS.add(-1)
            if watch:
                await cancel_and_wait(watch)

    @contextmanager
    def waiter(self, image_id: str, types: frozenset[str]) -> Iterator[asyncio.Event]:
        """Yields an `asyncio.Event`, set by the image's next event of these types, or when the process stops."""
        waiter = Waiter(types, asyncio.Event())
        self._waiters.setdefault(image_id, []).append(waiter)
        try:
            yield waiter.woken
        finally:
            self._waiters[image_id].remove(waiter)
            if not self._waiters[image_id]:
                del self._waiters[image_id]

    def end(self) -> None:
        """End every stream, and new ones at once: the process is about to stop."""
        self._ended = True
        self._started.set()
        self._wake_up.set()
        for subscriber in self._subscribers:
            subscriber.end()
        for waiter in chain.from_iterable(self._waiters.values()):
            waiter.woken.set()

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def subscriber_count(self) -> int:
        return len(self._subscribers)

    async def _wait_until_started(self) -> AsyncIterator[bytes]:
        """Keep-alive comments until the reader has its starting number: events before it would be lost otherwise."""
        while not self._started.is_set():
            try:
                async with asyncio.timeout(self._settings.heartbeat):
                    await self._started.wait()
            except TimeoutError:
                yield b": waiting\n\n"

    async def _replay(self, subscriber: Subscriber, until: int, last_event_id: str) -> AsyncIterator[bytes]:
        """The events in the table between the client's last one and `until`, where the subscriber takes over."""
        seen = _parse_number(last_event_id)
        async with self._replays:
            head, floor = await self._store.bounds()
        if seen is None or seen < floor or seen > head:
            yield reset_frame(until)
            return
        subscriber.after = seen  # another process may have sent it more than this reader has read
        while seen < until and not subscriber.ended:
            async with self._replays:
                events = await self._store.replay(subscriber.event_filter.owner, seen, until)
            seen = events[-1].number if len(events) == PAGE_SIZE else until
            yield subscriber.event_filter.frames(events) + heartbeat_frame(seen)

    async def run(self) -> None:
        """Read until the end; waits for unavailable servers."""
        await self._start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_for_wake_ups())
            tasks.create_task(self._read())

    async def _start(self) -> None:
        while True:
            try:
                self._head, _ = await self._store.bounds()
                metrics.EVENTS_READ.set(self._head)
            except DatabaseUnavailable as error:
                log.warning("feed.waiting", error=str(error))
                await asyncio.sleep(POLL_SECONDS)
            else:
                self._started.set()
                return

    async def _read(self) -> None:
        while not self._ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake_up.wait()
            self._wake_up.clear()
            try:
                await self._catch_up()
            except DatabaseUnavailable as error:
                log.warning("feed.waiting", error=str(error))
                await asyncio.sleep(POLL_SECONDS)

    async def _catch_up(self) -> None:
        if not await self._store.assign_numbers():
            asyncio.get_running_loop().call_later(SEQUENCER_RETRY_SECONDS, self._wake_up.set)
        page = min(PAGE_SIZE, self._settings.backlog)  # a larger page would close clients that keep up
        while events := await self._store.read_after(self._head, page):
            await self._before_publish([e.event for e in events])
            self._head = events[-1].number
            self._wake_waiters(events)
            framed = [(e, e.frame()) for e in events]
            for subscriber in self._subscribers:
                subscriber.push(framed)
            metrics.EVENTS_READ.set(self._head)
            for event in events:
                metrics.EVENT_DELAY.observe(event.age)
            if len(events) < page:
                return
            await wait_until_caught_up(self._subscribers)

    def _wake_waiters(self, events: Sequence[NumberedEvent]) -> None:
        for numbered in events:
            for waiter in self._waiters.get(numbered.event.image_id, []):
                if numbered.event.type in waiter.types:
                    waiter.woken.set()

    async def _listen_for_wake_ups(self) -> None:
        while not self._ended:  # a client library has been seen to swallow a cancellation
            try:
                async with self._valkey.subscription(CHANNEL) as receive:
                    while not self._ended:
                        if await receive(POLL_SECONDS * 10) is not None:
                            self._wake_up.set()
            except ValkeyUnavailable as error:
                log.debug("feed.subscription_lost", error=str(error))
                await asyncio.sleep(POLL_SECONDS)


class Waiter(NamedTuple):
    """A request of this process that waits for an event."""

    types: frozenset[str]
    woken: asyncio.Event


def _opening_frame(head: int | None) -> bytes:
    return b"retry: 3000\n\n" if head is None else b"retry: 3000\nid: %d\n\n" % head


def _closing_frame() -> bytes:
    """The pause before the client reconnects, random so that not all come back at once."""
    return b"retry: %d\n\n" % random.randint(500, 3000)  # noqa: S311  not a secret


def _parse_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
