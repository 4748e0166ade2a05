"""What follows a change of an image: its event in the same transaction; after the commit the cache is turned and the
feed is rung, so that nobody who has heard of a change is answered from before it.
"""

import msgspec

from gallery.adapters.database import Connection
from gallery.images.cache import Change, ImageCache
from gallery.images.model import Image
from gallery.images.schema import event_view
from gallery.notifications import store as events
from gallery.notifications.bell import Bell
from gallery.notifications.model import Event


class News:
    def __init__(self, cache: ImageCache, bell: Bell, base: str) -> None:
        self._cache = cache
        self._bell = bell
        self._base = base

    async def write(self, db: Connection, type: str, image: Image) -> None:  # noqa: A002  the field's name
        """Add the event `type` to the transaction that has changed the image, after the change."""
        data = msgspec.json.encode(event_view(image, self._base))
        await events.add(db, Event(type, image.owner, image.id, image.version, data))

    async def tell(self, image: Image) -> None:
        """The change is committed: forget older answers, let the feed look."""
        await self._cache.changed([Change(image.owner, image.id, image.version)])
        await self._bell.ring()
