"""The streams that were opened by upload tickets: they get the events of the images that their ticket has uploaded.

A ticket may upload while its stream is open, through any process. So before events are published, their images are
looked up for the tickets of all open streams, in one query. No event is missed: an image belongs to its ticket from the
commit on that its first event has, and a stream that opens after the look-up loads its ticket's images itself.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gallery.access.upload_tickets import UploadTickets
from gallery.notifications.model import EventFilter, NumberedEvent
from gallery.notifications.subscriber import Subscriber


class WiderFilter(NamedTuple):
    """The filter that a subscriber gets, because its ticket has uploaded more images."""

    subscriber: Subscriber
    event_filter: EventFilter


class TicketStreams:
    def __init__(self, tickets: UploadTickets) -> None:
        self._tickets = tickets
        self._open: defaultdict[str, set[Subscriber]] = defaultdict(set)  # by the ticket's id

    def add(self, subscriber: Subscriber) -> None:
        if subscriber.caller.ticket_id is not None:
            self._open[subscriber.caller.ticket_id].add(subscriber)

    def discard(self, subscriber: Subscriber) -> None:
        ticket = subscriber.caller.ticket_id
        if ticket is not None:
            self._open[ticket].discard(subscriber)
            if not self._open[ticket]:
                del self._open[ticket]

    async def load(self, subscriber: Subscriber) -> None:
        """Let an added subscriber get the events of all images that its ticket has uploaded until now.

        Raises `DatabaseUnavailable`.
        """
        if subscriber.caller.ticket_id is not None:
            images = await self._tickets.images_of(subscriber.caller.ticket_id)
            subscriber.event_filter = _wider(subscriber.event_filter, images)

    async def find_wider(self, events: Sequence[NumberedEvent]) -> list[WiderFilter]:
        """The wider filters that subscribers need before these events are published. Raises `DatabaseUnavailable`."""
        if not self._open:
            return []
        uploaded = await self._tickets.find_uploaded(set(self._open), {e.event.image_id for e in events})
        images = defaultdict[str, set[str]](set)
        for ticket, image in uploaded:
            images[ticket].add(image)
        return [
            WiderFilter(subscriber, _wider(subscriber.event_filter, images[ticket]))
            for ticket in images
            for subscriber in self._open.get(ticket, ())
            if not images[ticket] <= (subscriber.event_filter.only_images or frozenset())
        ]


def _wider(event_filter: EventFilter, images: frozenset[str] | set[str]) -> EventFilter:
    return msgspec.structs.replace(event_filter, only_images=(event_filter.only_images or frozenset()) | images)
