"""What clients read of images, as the bytes that they read: computed once, and kept in the cache for everybody."""

import msgspec

from gallery.access.model import Caller
from gallery.images.cache import CachedImage, CachedList, ImageCache
from gallery.images.list_query import Question
from gallery.images.model import Image, ImageId
from gallery.images.schema import view
from gallery.images.service import Images
from gallery.paging import Page


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
            read = self._images.current if self._cache.usable else self._images.get  # only what is current is kept
            entry = self.of(await read(caller, image_id))
            await self._cache.keep_image(image_id, entry)
        if not caller.sees(image_id, entry.owner, public=entry.public):
            raise caller.not_seen(image_id)
        return entry

    async def page(self, caller: Caller, question: Question) -> CachedList:
        """Raises `InvalidField`."""
        if question.words and self._images.replicated:  # a search is dear and seldom asked twice: a replica's work
            return self._list(await self._images.page(caller, question))
        entry, token = await self._cache.list(caller.owner, question.fingerprint)
        if entry is None and token is None:
            entry = self._list(await self._images.page(caller, question))
        elif entry is None:  # only what is current is kept
            entry = self._list(await self._images.current_page(caller, question))
            await self._cache.keep_list(caller.owner, question.fingerprint, token, entry)
        return entry

    def _list(self, page: Page[Image]) -> CachedList:
        body = msgspec.json.encode([view(image, self._base) for image in page.items])
        return CachedList(body, page.next.encode() if page.next else None)

    def of(self, image: Image) -> CachedImage:
        return CachedImage(image.owner, image.public, image.version, msgspec.json.encode(view(image, self._base)))
