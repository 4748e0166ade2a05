"""The open streams of this process: new events for all of them, heartbeats, and the ends of slow or expired ones.

All of this is done for all streams together: a stream has no timer and no queue of its own. See decision 0115.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import structlog

from gallery.access.model import Caller
from gallery.access.service import REVOCATION_CHECK_SECONDS, Access
from gallery.notifications.model import EventFilter, NumberedEvent, heartbeat_frame
from gallery.notifications.recent_events import RecentEvents
from gallery.notifications.sinks import Block, make_block
from gallery.notifications.subscriber import Subscriber
from gallery.notifications.ticket_streams import TicketStreams
from gallery.ops import metrics
from gallery.settings import NotificationsSettings

log = structlog.get_logger(__name__)

WRITES_AT_ONCE = 500  # about 4 ms; then others have their turn
MAX_PAUSE_SECONDS = 1.0  # between two looks at all streams


class Delivery(NamedTuple):
    """New events for the subscribers with one filter."""

    events: list[NumberedEvent]
    block: Block
    subscribers: list[Subscriber]


class Streams:
    def __init__(self, recent: RecentEvents, access: Access, settings: NotificationsSettings) -> None:
        self._recent = recent
        self._access = access
        self._heartbeat = settings.heartbeat
        self._patience = settings.patience
        self._pause = min(MAX_PAUSE_SECONDS, settings.heartbeat / 4, settings.patience / 4)
        self._open: set[Subscriber] = set()
        self._by_ticket = TicketStreams(access.upload_tickets)
        self._followers: dict[str, dict[EventFilter, set[Subscriber]]] = {}  # by owner
        self._writing = asyncio.Lock()  # a heartbeat never comes between the head's move and its events
        self.ended = False

    def open(self, subscriber: Subscriber) -> None:
        """Count a stream, until `close`; it gets new events from `follow` on."""
        self._open.add(subscriber)
        self._by_ticket.add(subscriber)
        metrics.STREAMS.add(1)
        if self.ended:
            subscriber.end()

    def close(self, subscriber: Subscriber) -> None:
        subscriber.end()  # no heartbeat behind the end of the response
        self._open.discard(subscriber)
        self._by_ticket.discard(subscriber)
        metrics.STREAMS.add(-1)
        if subscriber.following:
            self._unfollow(subscriber)

    async def load_images(self, subscriber: Subscriber) -> None:
        """Before a replay: the images of the upload ticket of an open stream. Raises `DatabaseUnavailable`."""
        await self._by_ticket.load(subscriber)

    def follow(self, subscriber: Subscriber) -> None:
        """Write new events to the subscriber: those after the present head, and after `subscriber.after`."""
        subscriber.following = True
        filters = self._followers.setdefault(subscriber.event_filter.owner, {})
        filters.setdefault(subscriber.event_filter, set()).add(subscriber)

    def _unfollow(self, subscriber: Subscriber) -> None:
        filters = self._followers[subscriber.event_filter.owner]
        filters[subscriber.event_filter].discard(subscriber)
        if not filters[subscriber.event_filter]:
            del filters[subscriber.event_filter]
        if not filters:
            del self._followers[subscriber.event_filter.owner]

    def _widen(self, subscriber: Subscriber, event_filter: EventFilter) -> None:
        if subscriber.following:
            self._unfollow(subscriber)
        subscriber.event_filter = event_filter
        if subscriber.following:
            self.follow(subscriber)

    def end(self) -> None:
        """End all streams, and new ones at once."""
        self.ended = True
        for subscriber in self._open:
            subscriber.end()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._open)

    async def publish(self, events: Sequence[NumberedEvent]) -> None:
        """Move the head behind these events, and write them to all followers.

        The followers are those of the moment in which the head moves: a later one gets the events by its replay.
        Raises `DatabaseUnavailable` before the head moves.
        """
        for subscriber, event_filter in await self._by_ticket.find_wider(events):
            self._widen(subscriber, event_filter)
        async with self._writing:
            before = self._recent.head
            self._recent.append(events)
            deliveries = list(self._deliveries(events))
            count = 0
            for delivery in deliveries:
                for subscriber in delivery.subscribers:
                    _deliver(delivery, subscriber, before)
                    count += 1
                    if count % WRITES_AT_ONCE == 0:
                        await asyncio.sleep(0)

    def _deliveries(self, events: Sequence[NumberedEvent]) -> Iterator[Delivery]:
        by_owner = defaultdict[str, list[NumberedEvent]](list)
        for event in events:
            by_owner[event.event.owner].append(event)
        for owner, owned in by_owner.items():
            for event_filter, subscribers in self._followers.get(owner, {}).items():
                matching = [e for e in owned if event_filter.matches(e.event)]
                if matching:
                    yield Delivery(matching, _block(matching), list(subscribers))

    async def run(self) -> None:
        """Look after all streams until the end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_after_all())
            tasks.create_task(self._end_revoked())

    async def _look_after_all(self) -> None:
        while not self.ended:
            await asyncio.sleep(self._pause)
            async with self._writing:
                await self._look_once()

    async def _look_once(self) -> None:
        """End streams whose credential has expired or whose client does not read; write heartbeats where due."""
        head = self._recent.head
        heartbeat = make_block(heartbeat_frame(head))
        for position, subscriber in enumerate(list(self._open), 1):
            now = asyncio.get_running_loop().time()
            if self._access.has_expired(subscriber.caller):
                subscriber.end()
            elif not subscriber.following:
                continue
            elif subscriber.has_stalled(now, self._patience):
                subscriber.abort()
            elif now + self._pause > subscriber.written_at + self._heartbeat and not subscriber.has_backlog:
                ahead = subscriber.after > head
                subscriber.write(make_block(heartbeat_frame(subscriber.after)) if ahead else heartbeat)
            if position % WRITES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _end_revoked(self) -> None:
        """End streams whose API key or upload ticket was revoked, or whose signing key was dropped. Each is looked up
        once.
        """
        while not self.ended:
            await asyncio.sleep(REVOCATION_CHECK_SECONDS)
            callers = {_revocable(s.caller): s.caller for s in self._open}
            revoked = {keys for keys, caller in callers.items() if await self._access.is_revoked(caller)}
            for subscriber in self._open:
                if _revocable(subscriber.caller) in revoked:
                    subscriber.end()


def _revocable(caller: Caller) -> tuple[str | None, ...]:
    return caller.api_key_id, caller.signing_key_id, caller.ticket_id


def _deliver(delivery: Delivery, subscriber: Subscriber, before: int) -> None:
    if subscriber.after <= before:
        subscriber.push(delivery.block, len(delivery.events))
        return
    newer = [e for e in delivery.events if e.number > subscriber.after]  # another process has sent it the others
    if newer:
        subscriber.push(_block(newer), len(newer))


def _block(events: Iterable[NumberedEvent]) -> Block:
    return make_block(b"".join([e.frame() for e in events]))
