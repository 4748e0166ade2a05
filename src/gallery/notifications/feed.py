"""One reader of events per process, and everybody in this process who listens.

The reader numbers what is new, reads it once, lets `before` act on it (the cache forgets older answers) and hands it to
the subscribers. A subscriber replays from the table what it has missed and then follows the reader; one that does not
keep up is closed, comes back with its last id, and misses nothing.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import NamedTuple, TypeAlias

import structlog

from gallery.adapters.valkey.client import Valkey
from gallery.background import end
from gallery.errors import DatabaseAway, ValkeyAway
from gallery.notifications.bell import CHANNEL
from gallery.notifications.model import Event, Filter, Numbered, heartbeat, reset
from gallery.notifications.store import PAGE, EventStore
from gallery.notifications.subscriber import Subscriber, caught_up
from gallery.ops import metrics
from gallery.settings import Notifications as Settings

log = structlog.get_logger(__name__)

Before: TypeAlias = Callable[[Sequence[Event]], Awaitable[None]]

POLL = 1.0  # seconds between two looks when nobody rings
SOON = 0.02  # when another process is numbering
MAX_REPLAYS = 4  # pages that are read at once for clients that come back: requests need connections too


class Feed:
    def __init__(self, store: EventStore, valkey: Valkey, before: Before, settings: Settings) -> None:
        self._store = store
        self._valkey = valkey
        self._before = before
        self._settings = settings
        self._subscribers: set[Subscriber] = set()
        self._expected: dict[str, list[Expected]] = {}
        self._head = 0
        self._replays = asyncio.Semaphore(MAX_REPLAYS)
        self._begun = asyncio.Event()
        self._look = asyncio.Event()
        self._ended = False

    async def listen(
        self, wanted: Filter, last_event_id: str | None, over: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events for one client: blocks of bytes, each to be sent at once, until either side ends it.

        What `over` returns is waited for: then this client may hear no more.
        """
        async for block in self._until_begun():
            yield block
        subscriber = Subscriber(wanted, self._head, self._settings.backlog)
        self._subscribers.add(subscriber)
        metrics.STREAMS.add(1)
        watch = asyncio.ensure_future(over()) if over else None
        if watch:
            watch.add_done_callback(lambda _: subscriber.end())
        if self._ended:
            subscriber.end()
        try:
            yield _hello(subscriber.seen if last_event_id is None else None)
            if last_event_id is not None:
                async for block in self._missed(subscriber, subscriber.seen, last_event_id):
                    yield block
            async for block in subscriber.blocks(self._settings.heartbeat):
                yield block
            yield _goodbye()
        finally:
            self._subscribers.discard(subscriber)
            metrics.STREAMS.add(-1)
            if watch:
                await end(watch)

    @contextmanager
    def expecting(self, image_id: str, types: frozenset[str]) -> Iterator[asyncio.Event]:
        """Set at each event of these types of the image from now on, and when the process is about to stop."""
        expected = Expected(types, asyncio.Event())
        self._expected.setdefault(image_id, []).append(expected)
        try:
            yield expected.news
        finally:
            self._expected[image_id].remove(expected)
            if not self._expected[image_id]:
                del self._expected[image_id]

    def end(self) -> None:
        """End every stream, and each new one at once: the process is about to stop."""
        self._ended = True
        self._begun.set()
        self._look.set()
        for subscriber in self._subscribers:
            subscriber.end()
        for expected in chain.from_iterable(self._expected.values()):
            expected.news.set()

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def listeners(self) -> int:
        return len(self._subscribers)

    async def _until_begun(self) -> AsyncIterator[bytes]:
        """Nothing but signs of life until the reader knows where it begins: nobody else would tell what lies before."""
        while not self._begun.is_set():
            try:
                async with asyncio.timeout(self._settings.heartbeat):
                    await self._begun.wait()
            except TimeoutError:
                yield b": waiting\n\n"

    async def _missed(self, subscriber: Subscriber, until: int, last_event_id: str) -> AsyncIterator[bytes]:
        """What is in the table between the client's last event and `until`, from where the subscriber follows."""
        seen = _number(last_event_id)
        async with self._replays:
            head, floor = await self._store.bounds()
        if seen is None or seen < floor or seen > head:
            yield reset(until)
            return
        subscriber.after = seen  # another process may have shown it more than our reader has read
        while seen < until and not subscriber.ended:
            async with self._replays:
                events = await self._store.replay(subscriber.wanted.owner, seen, until)
            seen = events[-1].number if len(events) == PAGE else until
            yield subscriber.wanted.frames(events) + heartbeat(seen)

    async def run(self) -> None:
        """Read until the end; what is away is waited for."""
        await self._start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear())
            tasks.create_task(self._read())

    async def _start(self) -> None:
        while True:
            try:
                self._head, _ = await self._store.bounds()
                metrics.EVENTS_READ.set(self._head)
            except DatabaseAway as error:
                log.warning("feed.waiting", error=str(error))
                await asyncio.sleep(POLL)
            else:
                self._begun.set()
                return

    async def _read(self) -> None:
        while not self._ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._catch_up()
            except DatabaseAway as error:
                log.warning("feed.waiting", error=str(error))
                await asyncio.sleep(POLL)

    async def _catch_up(self) -> None:
        if not await self._store.number():
            asyncio.get_running_loop().call_later(SOON, self._look.set)
        page = min(PAGE, self._settings.backlog)  # more at once would close clients that read at once
        while events := await self._store.after(self._head, page):
            await self._before([e.event for e in events])
            self._head = events[-1].number
            self._fulfil(events)
            framed = [(e, e.frame()) for e in events]
            for subscriber in self._subscribers:
                subscriber.take(framed)
            metrics.EVENTS_READ.set(self._head)
            for event in events:
                metrics.EVENT_DELAY.observe(event.age)
            if len(events) < page:
                return
            await caught_up(self._subscribers)

    def _fulfil(self, events: Sequence[Numbered]) -> None:
        for numbered in events:
            for expected in self._expected.get(numbered.event.image_id, []):
                if numbered.event.type in expected.types:
                    expected.news.set()

    async def _hear(self) -> None:
        while not self._ended:  # a client library has been seen to swallow a cancellation
            try:
                async with self._valkey.listening(CHANNEL) as heard:
                    while not self._ended:
                        if await heard(POLL * 10) is not None:
                            self._look.set()
            except ValkeyAway as error:
                log.debug("feed.deaf", error=str(error))
                await asyncio.sleep(POLL)


class Expected(NamedTuple):
    """What somebody in this process waits for."""

    types: frozenset[str]
    news: asyncio.Event


def _hello(head: int | None) -> bytes:
    return b"retry: 3000\n\n" if head is None else b"retry: 3000\nid: %d\n\n" % head


def _goodbye() -> bytes:
    """When to come back: not all at the same moment."""
    return b"retry: %d\n\n" % random.randint(500, 3000)  # noqa: S311  no secret


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
