"""What follows a change of an image: its event in the same transaction; after the commit it is noted what replicas
need, the cache is turned and the feed is rung, so that nobody who has heard of a change is answered from before it.
"""

from collections.abc import Sequence

import msgspec

from gallery.access.model import Owner
from gallery.adapters.postgres.database import Connection, Database
from gallery.images.cache import Change, ImageCache
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

    async def add(self, db: Connection, type: str, image: Image) -> None:  # noqa: A002  the field's name
        """Add the event `type` to the transaction that has changed the image, after the change."""
        data = msgspec.json.encode(event_view(image, self._base))
        await events.add(db, Event(type, image.owner, image.id, image.version, data))

    async def publish(self, image: Image) -> None:
        """The change is committed: forget older answers, let the feed look."""
        await self.invalidate([Change(image.owner, image.id, image.version)])
        await self._wake_ups.notify()

    async def invalidate(self, changes: Sequence[Change]) -> None:
        """From now on nobody is answered from before these changes: by no replica, and not from the cache."""
        images, owners = {image_subject(c.image) for c in changes}, {owner_subject(c.owner) for c in changes}
        await self._database.record_changes(images | owners)
        await self._cache.invalidate(changes)


def image_subject(image: ImageId) -> str:
    """What a read of one image is about, for `DatabaseSettings.read`."""
    return f"image:{image}"


def owner_subject(owner: Owner) -> str:
    """What a read of somebody's images is about."""
    return f"owner:{owner}"
