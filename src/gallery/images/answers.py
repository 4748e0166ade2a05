"""What clients read of images, as the bytes that they read: computed once, and kept in the cache for everybody."""

import msgspec

from gallery.access.model import Caller
from gallery.images.cache import CachedImage, CachedList, ImageCache
from gallery.images.model import Image, ImageId
from gallery.images.question import Question
from gallery.images.schema import view
from gallery.images.service import Images


class Answers:
    """What clients read, from the cache where it is there: bytes of JSON, computed once for everybody."""

    def __init__(self, images: Images, cache: ImageCache, base: str) -> None:
        self._images = images
        self._cache = cache
        self._base = base

    async def image(self, caller: Caller, image_id: ImageId) -> CachedImage:
        """Raises `ImageNotFound`."""
        entry = await self._cache.image(image_id)
        if entry is None:
            entry = self.of(await self._images.get(caller, image_id))
            await self._cache.keep_image(image_id, entry)
        if not caller.sees(image_id, entry.owner, public=entry.public):
            raise caller.not_seen(image_id)
        return entry

    async def page(self, caller: Caller, question: Question) -> CachedList:
        """Raises `InvalidField`."""
        entry, token = await self._cache.list(caller.owner, question.fingerprint)
        if entry is None:
            page = await self._images.page(caller, question)
            body = msgspec.json.encode([view(image, self._base) for image in page.items])
            entry = CachedList(body, page.next.encode() if page.next else None)
            await self._cache.keep_list(caller.owner, question.fingerprint, token, entry)
        return entry

    def of(self, image: Image) -> CachedImage:
        return CachedImage(image.owner, image.public, image.version, msgspec.json.encode(view(image, self._base)))
