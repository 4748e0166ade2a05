"""What waits for one client, and how long the feed waits for all of them between two pages of a burst."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from gallery.notifications.model import EventFilter, NumberedEvent, heartbeat_frame

STALL_SECONDS, STALL_CHECKS = 0.1, 20  # seconds in which no client takes anything, and how often that is looked at
MAX_WAIT_SECONDS = 1.0  # seconds between two pages


class Subscriber:
    """What waits for one client, bounded."""

    def __init__(self, event_filter: EventFilter, head: int, max_backlog: int) -> None:
        self.event_filter = event_filter
        self.seen = head
        self.after = head
        self._backlog: deque[tuple[int, bytes]] = deque()
        self._max_backlog = max_backlog
        self._wake_up = asyncio.Event()
        self.slow = False
        self.ended = False

    def push(self, events: Sequence[tuple[NumberedEvent, bytes]]) -> None:
        """New events, in order; a subscriber that has fallen too far behind ends."""
        if self.ended:
            return
        self._backlog.extend((e.number, frame) for e, frame in events if self.event_filter.matches(e.event))
        self.seen = events[-1][0].number
        if len(self._backlog) > self._max_backlog:
            self.end()
        if self._backlog:
            self._wake_up.set()

    @property
    def has_backlog(self) -> bool:
        """Whether something still waits that it has not begun to be sent."""
        return bool(self._backlog)

    def end(self) -> None:
        """Nothing more is sent, nor kept: a client that comes back is replayed it."""
        self.ended = True
        self._backlog.clear()
        self._wake_up.set()

    async def blocks(self, interval: float) -> AsyncIterator[bytes]:
        """All that waits, joined, as soon as there is something; a heartbeat when there is nothing for so long."""
        while True:
            try:
                async with asyncio.timeout(interval):
                    await self._wake_up.wait()
            except TimeoutError:
                yield heartbeat_frame(max(self.seen, self.after))
                continue
            if self.ended:
                return
            self._wake_up.clear()
            block = b"".join(frame for number, frame in self._backlog if number > self.after)
            self._backlog.clear()
            self.slow = False
            if block:
                yield block


async def wait_until_caught_up(subscribers: Iterable[Subscriber]) -> None:
    """Let clients be sent what waits for them, before more does.

    Waits while one after the other takes it. A client that takes nothing is waited for once, and not again until it has
    taken something.
    """
    waited = {s for s in subscribers if s.has_backlog and not s.slow}
    longest = asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
    while waited and asyncio.get_running_loop().time() < longest:
        before = len(waited)
        waited = await _wait_for_progress(waited)
        if len(waited) == before:
            break
    for subscriber in waited:
        subscriber.slow = True


async def _wait_for_progress(subscribers: set[Subscriber]) -> set[Subscriber]:
    """Those of whom it is still true, as soon as it is not of one, or after `STALL_SECONDS` seconds."""
    for _ in range(STALL_CHECKS):
        await asyncio.sleep(STALL_SECONDS / STALL_CHECKS)
        left = {s for s in subscribers if s.has_backlog}
        if len(left) < len(subscribers):
            return left
    return subscribers
