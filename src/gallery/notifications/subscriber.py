"""A client of the stream and its backlog, and the feed's wait for all clients between two pages of a burst."""

import asyncio
from collections.abc import Iterable

from gallery.access.model import Caller
from gallery.notifications.model import EventFilter
from gallery.notifications.sinks import Block, Sink

STALL_SECONDS, STALL_CHECKS = 0.1, 20  # a client that reads nothing for this long is slow; checks in that time
MAX_WAIT_SECONDS = 1.0  # between two pages


class Subscriber:
    """A client's filter, its sink, and the events that wait there: at most `max_backlog`."""

    __slots__ = (
        "_backlog",
        "_ended",
        "_max_backlog",
        "_moved_at",
        "_taken",
        "_written",
        "aborted",
        "after",
        "caller",
        "event_filter",
        "following",
        "sink",
        "slow",
        "written_at",
    )

    def __init__(self, event_filter: EventFilter, caller: Caller, sink: Sink, max_backlog: int) -> None:
        loop = asyncio.get_running_loop()
        self.event_filter = event_filter
        self.caller = caller
        self.sink = sink
        self.after = 0  # the client has the events up to this number
        self.following = False  # gets new events, and heartbeats
        self.slow = False  # the feed does not wait for it
        self.aborted = False
        self.written_at = self._moved_at = loop.time()
        self._max_backlog = max_backlog
        self._backlog: list[tuple[int, int]] = []  # of each write that may wait: the bytes up to its end, its events
        self._written = self._taken = 0  # bytes
        self._ended: asyncio.Future[None] = loop.create_future()

    def write(self, block: Block) -> None:
        """Write a block that does not count as events: a heartbeat, a replay."""
        if not self.ended:
            self._written += self.sink.write(block)
            self.written_at = asyncio.get_running_loop().time()

    def push(self, block: Block, count: int) -> None:
        """Write a block of `count` new events; a client that is too far behind ends, and gets nothing more."""
        if self.ended:
            return
        if not self.sink.waiting:
            self._backlog.clear()
            self.slow = False
        elif self._count_backlog() + count > self._max_backlog:
            self.end()
            return
        self.write(block)
        self._backlog.append((self._written, count))

    def _count_backlog(self) -> int:
        """The events in blocks that have not been taken whole."""
        taken = self._written - self.sink.waiting
        while self._backlog and self._backlog[0][0] <= taken:
            del self._backlog[0]
        return sum(count for _, count in self._backlog)

    def has_stalled(self, now: float, seconds: float) -> bool:
        """Whether bytes wait of which the client has taken none for so long."""
        waiting = self.sink.waiting
        taken = self._written - waiting
        if not waiting or taken != self._taken:
            self._taken, self._moved_at = taken, now
        return now - self._moved_at > seconds

    @property
    def has_backlog(self) -> bool:
        return self.sink.waiting > 0

    def end(self) -> None:
        """Write nothing more: a client that reconnects gets a replay."""
        if not self._ended.done():
            self._ended.set_result(None)

    def abort(self) -> None:
        """End because the client does not read: its connection is to be cut."""
        self.aborted = True
        self.end()

    @property
    def ended(self) -> bool:
        return self._ended.done()

    async def wait_until_ended(self) -> None:
        await self._ended


async def wait_until_caught_up(subscribers: Iterable[Subscriber]) -> None:
    """Let clients read their backlog before it grows.

    Waits as long as one client after another catches up. A client that reads nothing is waited for once, and not again
    until it has read everything.
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
