"""The consequences of a change of an image.

In its transaction: the event. After the commit, in this order: the change is recorded for reads from replicas, the
cache is invalidated, and the feeds are notified. So a client that has received an event never reads an older answer.
"""

from collections.abc import Sequence

import msgspec

from gallery.access.model import Owner
from gallery.adapters.postgres.database import Connection, Database
from gallery.images.cache import ImageCache
from gallery.images.change_tokens import Change, image_subject, owner_subject
from gallery.images.model import Image, ImageId
from gallery.images.schema import event_view
from gallery.notifications import store as events
from gallery.notifications.model import Event
from gallery.notifications.wake_ups import WakeUps


class Outbox:
    def __init__(self, database: Database, cache: ImageCache, wake_ups: WakeUps, base: str) -> None:
        self._database = database
        self._cache = cache
        self._wake_ups = wake_ups
        self._base = base

    def event(self, type: str, image: Image) -> Event:  # noqa: A002  the field's name
        """The event `type` about the image as it is now."""
        data = msgspec.json.encode(event_view(image, self._base))
        return Event(type, image.owner, image.id, image.version, data)

    async def add(self, db: Connection, type: str, image: Image) -> None:  # noqa: A002
        """Add the event `type` to the transaction that has changed the image, after the change."""
        await events.add(db, self.event(type, image))

    async def publish(self, image: Image) -> None:
        """Invalidate older answers and wake the feeds. To be called after the commit."""
        changes = [Change(image.owner, image.id, image.version)]
        await self._record(changes)
        await self._cache.invalidate(changes, then=self._wake_ups)

    async def invalidate_events(self, events: Sequence[Event]) -> None:
        """Invalidate for the changes of these events, in case their writers died before they did.

        The cache needs it only for changes of other machines and of such writers.
        """
        changes = [Change(Owner(e.owner), ImageId(e.image_id), e.version) for e in events]
        await self._record(changes)
        await self._cache.invalidate([change for change in changes if not self._cache.has_invalidated(change)])

    async def invalidate(self, changes: Sequence[Change]) -> None:
        """From now on neither a replica nor the cache gives an answer that is older than these changes."""
        await self._record(changes)
        await self._cache.invalidate(changes)

    async def _record(self, changes: Sequence[Change]) -> None:
        images, owners = {image_subject(c.image) for c in changes}, {owner_subject(c.owner) for c in changes}
        await self._database.record_changes(images | owners)
