"""The newest events in memory, from which returning clients are replayed without a query."""

from collections.abc import Sequence

from gallery.notifications.model import EventFilter, NumberedEvent, heartbeat_frame
from gallery.notifications.sinks import Block, make_block
from gallery.notifications.store import PAGE_SIZE

MAX_EVENTS = 2000
MAX_BYTES = 4 * 1024 * 1024  # of all events' JSON
MAX_BLOCKS = 8  # replayed blocks that are kept for other clients


class RecentEvents:
    """The events from `floor` (exclusive) to `head`, without a gap: their numbers rise by one."""

    def __init__(self) -> None:
        self.floor = 0
        self.head = 0
        self._events: list[NumberedEvent] = []
        self._size = 0
        self._blocks: dict[tuple[EventFilter, int, int], Block] = {}

    def start(self, head: int, newest: Sequence[NumberedEvent]) -> None:
        """Begin at the event `head`, of which `newest` and those before it are kept in the table."""
        self.floor = self.head = newest[0].number - 1 if newest else head
        if newest:
            self.append(newest)

    def append(self, events: Sequence[NumberedEvent]) -> None:
        """Add the events that follow `head`."""
        self._events += events
        self._size += sum(len(e.event.data) for e in events)
        self.head = events[-1].number
        while self._events and (len(self._events) > MAX_EVENTS or self._size > MAX_BYTES):
            self.drop_until(self.floor + max(1, len(self._events) // 4))

    def drop_until(self, number: int) -> None:
        """Drop the events up to `number`, for example because they are no longer kept."""
        count = min(number, self.head) - self.floor
        if count <= 0:
            return
        self._size -= sum(len(e.event.data) for e in self._events[:count])
        del self._events[:count]
        self.floor += count

    def covers(self, number: int) -> bool:
        """Whether all events after `number` are here."""
        return self.floor <= number <= self.head

    def page(self, event_filter: EventFilter, after: int) -> tuple[Block, int]:
        """The next events after `after` that match, and the number up to which they were looked for."""
        until = min(after + PAGE_SIZE, self.head)
        key = (event_filter, after, until)
        block = self._blocks.get(key)
        if block is None:
            events = self._events[after - self.floor : until - self.floor]
            block = self._blocks[key] = make_block(event_filter.frames(events) + heartbeat_frame(until))
            if len(self._blocks) > MAX_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        return block, until
