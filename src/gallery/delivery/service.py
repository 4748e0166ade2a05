"""Bytes of originals and renditions, out of the object store."""

from collections.abc import AsyncIterator
from datetime import timedelta

from gallery.access.model import Caller
from gallery.adapters.objects.store import ObjectStore
from gallery.errors import (
    ObjectDamaged,
)
from gallery.images.model import ImageId
from gallery.images.service import Images

DOWNLOAD_TTL = timedelta(hours=1)


class Pictures:
    def __init__(self, images: Images, objects: ObjectStore) -> None:
        self._images = images
        self._objects = objects

    async def open(self, key: str, size: int, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an original or a rendition of that size, from `start` until before `end`.

        Raises `ObjectNotFound`, `ObjectDamaged`, `ObjectStoreUnavailable`.
        """
        there, chunks = await self._objects.open(key, start, end)
        if there != size:
            raise ObjectDamaged(key=key, size=size, there=there)
        return chunks

    async def download_url(self, caller: Caller, image_id: ImageId) -> str | None:
        """A URL of the object store's for the original, good for `DOWNLOAD_TTL`; `None` where it gives none out."""
        image = await self._images.get(caller, image_id)
        return await self._objects.sign(image.original_key, DOWNLOAD_TTL)
