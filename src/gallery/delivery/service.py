"""Reads originals and renditions from the object store."""

from collections.abc import AsyncIterator
from datetime import timedelta

from gallery.access.model import Caller
from gallery.adapters.objects.store import ObjectStore
from gallery.errors import ObjectDamaged
from gallery.images.model import ImageId
from gallery.images.service import Images

DOWNLOAD_TTL = timedelta(hours=1)


class Pictures:
    def __init__(self, images: Images, objects: ObjectStore) -> None:
        self._images = images
        self._objects = objects

    async def open(self, key: str, size: int, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an object from `start` up to but not including `end`; `size` is the object's expected size.

        Raises `ObjectNotFound`, `ObjectDamaged` for another size, `ObjectStoreUnavailable`.
        """
        stored_size, chunks = await self._objects.open(key, start, end)
        if stored_size != size:
            raise ObjectDamaged(key=key, size=size, there=stored_size)
        return chunks

    async def download_url(self, caller: Caller, image_id: ImageId) -> str | None:
        """The object store's own URL of the original, valid for `DOWNLOAD_TTL`; `None` if the store cannot sign one."""
        image = await self._images.get(caller, image_id)
        return await self._objects.sign(image.original_key, DOWNLOAD_TTL)
