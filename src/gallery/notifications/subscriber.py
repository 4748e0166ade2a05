"""What waits for one client, and how long the feed waits for all of them between two pages of a burst."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from gallery.notifications.model import Filter, Numbered, heartbeat

STALLED, LOOKS = 0.1, 20  # seconds in which no client takes anything, and how often that is looked at
MAX_WAIT = 1.0  # seconds between two pages


class Subscriber:
    """What waits for one client, bounded."""

    def __init__(self, wanted: Filter, head: int, most: int) -> None:
        self.wanted = wanted
        self.seen = head
        self.after = head
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._most = most
        self._news = asyncio.Event()
        self.slow = False
        self.ended = False

    def take(self, events: Sequence[tuple[Numbered, bytes]]) -> None:
        """New events, in order; a subscriber that has fallen too far behind ends."""
        if self.ended:
            return
        self._waiting.extend((e.number, frame) for e, frame in events if self.wanted.wants(e.event))
        self.seen = events[-1][0].number
        if len(self._waiting) > self._most:
            self.end()
        if self._waiting:
            self._news.set()

    @property
    def behind(self) -> bool:
        """Whether something still waits that it has not begun to be sent."""
        return bool(self._waiting)

    def end(self) -> None:
        """Nothing more is sent, nor kept: a client that comes back is replayed it."""
        self.ended = True
        self._waiting.clear()
        self._news.set()

    async def blocks(self, beat: float) -> AsyncIterator[bytes]:
        """All that waits, joined, as soon as there is something; a heartbeat when there is nothing for so long."""
        while True:
            try:
                async with asyncio.timeout(beat):
                    await self._news.wait()
            except TimeoutError:
                yield heartbeat(max(self.seen, self.after))
                continue
            if self.ended:
                return
            self._news.clear()
            block = b"".join(frame for number, frame in self._waiting if number > self.after)
            self._waiting.clear()
            self.slow = False
            if block:
                yield block


async def caught_up(subscribers: Iterable[Subscriber]) -> None:
    """Let clients be sent what waits for them, before more does.

    Waits while one after the other takes it. A client that takes nothing is waited for once, and not again until it has
    taken something.
    """
    waited = {s for s in subscribers if s.behind and not s.slow}
    longest = asyncio.get_running_loop().time() + MAX_WAIT
    while waited and asyncio.get_running_loop().time() < longest:
        before = len(waited)
        waited = await _still_behind(waited)
        if len(waited) == before:
            break
    for subscriber in waited:
        subscriber.slow = True


async def _still_behind(subscribers: set[Subscriber]) -> set[Subscriber]:
    """Those of whom it is still true, as soon as it is not of one, or after `STALLED` seconds."""
    for _ in range(LOOKS):
        await asyncio.sleep(STALLED / LOOKS)
        left = {s for s in subscribers if s.behind}
        if len(left) < len(subscribers):
            return left
    return subscribers
