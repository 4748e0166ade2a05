"""An event: a change of an image, sent to subscribed clients."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

EVENT_TYPES = (
    "image.uploaded",
    "image.processing",
    "image.ready",
    "image.failed",
    "image.updated",
    "image.deleted",
)


class Event(Struct, frozen=True):
    """An event without a number; `data` is the clients' JSON, with `imageId`, `status`, `version`, `timestamp`."""

    type: str
    owner: str
    image_id: str
    version: int
    data: bytes


class NumberedEvent(Struct, frozen=True):
    """An event with its `number`, which rises by one from event to event, in the order of commits.

    `age` is the seconds since the change, at the time of reading.
    """

    number: int
    event: Event
    age: float = 0.0

    def frame(self) -> bytes:
        """The event as a server-sent event; see https://html.spec.whatwg.org/multipage/server-sent-events.html."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.number, self.event.type.encode(), self.event.data)


class Reset(Struct, frozen=True):
    """The `data` of a `reset`: events before `head`, the number of the last, are not kept; so read the list again."""

    head: str


class EventFilter(Struct, frozen=True):
    """The events that a subscriber wants; an empty set of types means all of them. `only_images` are those of its
    owner's that it may read, if not all.
    """

    owner: str
    types: frozenset[str] = frozenset()
    image_id: str | None = None
    only_images: frozenset[str] | None = None

    def matches(self, event: Event) -> bool:
        return (
            event.owner == self.owner
            and (not self.types or event.type in self.types)
            and (self.image_id is None or event.image_id == self.image_id)
            and (self.only_images is None or event.image_id in self.only_images)
        )

    def frames(self, events: Sequence[NumberedEvent]) -> bytes:
        return b"".join(e.frame() for e in events if self.matches(e.event))


def reset_frame(head: int) -> bytes:
    """Tells a client that events it has not seen are gone: it reads the list again and continues from `head`."""
    return b"id: %d\nevent: reset\ndata: %s\n\n" % (head, msgspec.json.encode(Reset(str(head))))


def heartbeat_frame(number: int) -> bytes:
    """Keeps the connection open; its id keeps the cursor of a filtered stream recent."""
    return b": heartbeat\nid: %d\n\n" % number
