"""The reader of events in this process, and its streams.

The reader has new events numbered, reads them once, awaits `before_publish` (which invalidates the cache) and writes
them to the streams. A client is first replayed what it has missed and then follows the reader; one that does not keep
up is closed, reconnects with its last id, and misses nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import NamedTuple, TypeAlias

import structlog

from gallery.access.service import Access
from gallery.adapters.valkey.client import Valkey
from gallery.errors import DatabaseUnavailable, ValkeyUnavailable
from gallery.notifications.model import Event, NumberedEvent
from gallery.notifications.recent_events import MAX_EVENTS, RecentEvents
from gallery.notifications.replays import Replays
from gallery.notifications.sinks import make_block
from gallery.notifications.store import PAGE_SIZE, EventStore
from gallery.notifications.streams import Streams
from gallery.notifications.subscriber import Subscriber, wait_until_caught_up
from gallery.notifications.wake_ups import CHANNEL
from gallery.ops import metrics
from gallery.settings import NotificationsSettings

log = structlog.get_logger(__name__)

BeforePublish: TypeAlias = Callable[[Sequence[Event]], Awaitable[None]]

POLL_SECONDS = 1.0  # without a wake-up


class Feed:
    def __init__(
        self,
        store: EventStore,
        valkey: Valkey,
        before_publish: BeforePublish,
        access: Access,
        on_caught_up: Callable[[int], None],
        settings: NotificationsSettings,
    ) -> None:
        """`on_caught_up` gets the time (`monotonic_ns`) before which every event has passed `before_publish`."""
        self._store = store
        self._valkey = valkey
        self._before_publish = before_publish
        self._on_caught_up = on_caught_up
        self._settings = settings
        self._recent = RecentEvents()
        self._replays = Replays(store, self._recent, settings.patience)
        self._streams = Streams(self._recent, access, settings)
        self._waiters: dict[str, list[Waiter]] = {}
        self._started = asyncio.Event()
        self._wake_up = asyncio.Event()

    async def listen(self, subscriber: Subscriber, last_event_id: str | None) -> None:
        """Write all events for one client, those after `last_event_id` first, until either side ends the stream."""
        self._streams.open(subscriber)
        try:
            await self._begin(subscriber, last_event_id)
            self._streams.follow(subscriber)
            await subscriber.wait_until_ended()
        finally:
            self._streams.close(subscriber)

    async def _begin(self, subscriber: Subscriber, last_event_id: str | None) -> None:
        """The frames before the first new event. On return the client has all events that this process has read."""
        await self._wait_until_started(subscriber)
        await self._streams.load_images(subscriber)
        if last_event_id is None:
            subscriber.after = self._recent.head
            subscriber.write(make_block(b"retry: 3000\nid: %d\n\n" % subscriber.after))
        else:
            subscriber.write(make_block(b"retry: 3000\n\n"))
            await self._replays.replay(subscriber, last_event_id)

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
        self._streams.end()
        self._started.set()
        self._wake_up.set()
        for waiter in chain.from_iterable(self._waiters.values()):
            waiter.woken.set()

    @property
    def ended(self) -> bool:
        return self._streams.ended

    @property
    def subscriber_count(self) -> int:
        return len(self._streams)

    async def _wait_until_started(self, subscriber: Subscriber) -> None:
        """Keep-alive comments until the reader has its starting number: events before it would be lost otherwise."""
        while not self._started.is_set() and not subscriber.ended:
            try:
                async with asyncio.timeout(self._settings.heartbeat):
                    await self._started.wait()
            except TimeoutError:
                subscriber.write(make_block(b": waiting\n\n"))

    async def run(self) -> None:
        """Read until the end; waits for unavailable servers."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._streams.run())
            await self._start()
            tasks.create_task(self._listen_for_wake_ups())
            tasks.create_task(self._read())

    async def _start(self) -> None:
        """Find the head, and read the events before it for clients that return after the process has started again."""
        while True:
            try:
                head, floor = await self._number_older()
                newest = await self._store.read_after(max(floor, head - MAX_EVENTS), MAX_EVENTS)
                await self._before_publish([e.event for e in newest[-PAGE_SIZE:]])  # others may not have done so yet
            except DatabaseUnavailable as error:
                log.warning("feed.waiting", error=str(error))
                await asyncio.sleep(POLL_SECONDS)
            else:
                self._recent.start(head, [e for e in newest if e.number <= head])
                metrics.EVENTS_READ.set(head)
                self._started.set()
                return

    async def _number_older(self) -> tuple[int, int]:
        """Number the events that were committed while no process ran; they are not new to the clients of this one.

        Returns the last number, and the last one that is no longer kept.
        """
        head, _ = await self._store.bounds()
        while True:
            events, floor = await self._store.number_and_read(head)
            await self._before_publish([e.event for e in events])
            head = events[-1].number if events else head
            if len(events) < PAGE_SIZE:
                return head, floor

    async def _read(self) -> None:
        while not self.ended:
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
        started_at = time.monotonic_ns()
        page = min(PAGE_SIZE, self._settings.backlog)  # a larger page would close clients that keep up
        while True:
            events, floor = await self._store.number_and_read(self._recent.head, page)
            self._recent.drop_until(floor)
            if events:
                await self._publish(events)
            if len(events) < page:
                break
            await wait_until_caught_up(self._streams)
        self._on_caught_up(started_at)

    async def _publish(self, events: Sequence[NumberedEvent]) -> None:
        await self._before_publish([e.event for e in events])
        self._wake_waiters(events)
        await self._streams.publish(events)
        metrics.EVENTS_READ.set(self._recent.head)
        for event in events:
            metrics.EVENT_DELAY.observe(event.age)

    def _wake_waiters(self, events: Sequence[NumberedEvent]) -> None:
        for numbered in events:
            for waiter in self._waiters.get(numbered.event.image_id, []):
                if numbered.event.type in waiter.types:
                    waiter.woken.set()

    async def _listen_for_wake_ups(self) -> None:
        while not self.ended:  # a client library has been seen to swallow a cancellation
            try:
                async with self._valkey.subscription(CHANNEL) as receive:
                    while not self.ended:
                        if await receive(POLL_SECONDS * 10) is not None:
                            self._wake_up.set()
            except ValkeyUnavailable as error:
                log.debug("feed.subscription_lost", error=str(error))
                await asyncio.sleep(POLL_SECONDS)


class Waiter(NamedTuple):
    """A request of this process that waits for an event."""

    types: frozenset[str]
    woken: asyncio.Event
