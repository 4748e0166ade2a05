"""Readings of the numbered and unnumbered events, which show whether a feed is behind."""

from collections.abc import Iterable

from gallery.notifications.store import EventStore
from gallery.ops.readings import Reading, ReadingSource

MAX_COUNTED = 1000


def event_readings(events: EventStore) -> ReadingSource:
    async def read() -> Iterable[Reading]:
        head, _ = await events.bounds()
        waiting = await events.count_unnumbered(MAX_COUNTED)
        return [
            Reading("events_numbered", "Number of the last numbered event", {(): head}),
            Reading("events_unnumbered", f"Events without a number, up to {MAX_COUNTED}", {(): waiting}),
        ]

    return read
