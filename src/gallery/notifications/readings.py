"""How it stands with the events: what has been written and numbered, so that one sees which feed is behind."""

from collections.abc import Iterable

from gallery.notifications.store import EventStore
from gallery.ops.readings import Reading, ReadingSource

MAX_COUNTED = 1000  # events without a number that are counted


def event_readings(events: EventStore) -> ReadingSource:
    async def read() -> Iterable[Reading]:
        head, _ = await events.bounds()
        waiting = await events.count_unnumbered(MAX_COUNTED)
        return [
            Reading("events_numbered", "The number of the last event that has one", {(): head}),
            Reading("events_unnumbered", f"Events that nobody has numbered yet, up to {MAX_COUNTED}", {(): waiting}),
        ]

    return read
