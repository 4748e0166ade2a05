"""The backlog of one client, and the feed's wait for all clients between two pages of a burst."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from gallery.notifications.model import EventFilter, NumberedEvent, heartbeat_frame

STALL_SECONDS, STALL_CHECKS = 0.1, 20  # a client that reads nothing for this long is slow; checks in that time
MAX_WAIT_SECONDS = 1.0  # between two pages


class Subscriber:
    """A client's filter and its bounded backlog."""

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
        """Add new events, in order; a subscriber that is too far behind ends."""
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
        """Whether events wait that the stream has not begun to send."""
        return bool(self._backlog)

    def end(self) -> None:
        """Send and keep nothing more: a client that reconnects gets a replay."""
        self.ended = True
        self._backlog.clear()
        self._wake_up.set()

    async def blocks(self, interval: float) -> AsyncIterator[bytes]:
        """The backlog, joined, as soon as there is any; a heartbeat after `interval` seconds without."""
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
    """Let clients read their backlog before it grows.

    Waits as long as one client after another catches up. A client that reads nothing is waited for once, and not again
    until it has read something.
    """
    waiting = {s for s in subscribers if s.has_backlog and not s.slow}
    deadline = asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
    while waiting and asyncio.get_running_loop().time() < deadline:
        before = len(waiting)
        waiting = await _wait_for_progress(waiting)
        if len(waiting) == before:
            break
    for subscriber in waiting:
        subscriber.slow = True


async def _wait_for_progress(subscribers: set[Subscriber]) -> set[Subscriber]:
    """The subscribers that still have a backlog, as soon as one has none, or after `STALL_SECONDS`."""
    for _ in range(STALL_CHECKS):
        await asyncio.sleep(STALL_SECONDS / STALL_CHECKS)
        left = {s for s in subscribers if s.has_backlog}
        if len(left) < len(subscribers):
            return left
    return subscribers
