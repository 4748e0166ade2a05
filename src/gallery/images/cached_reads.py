"""What clients read of images, as the bytes that they read: computed once, and kept in the cache for everybody."""

import msgspec

from gallery.access.model import Caller
from gallery.images.cache import CachedImage, CachedList, ImageCache
from gallery.images.list_query import ListQuery
from gallery.images.model import Image, ImageId
from gallery.images.schema import image_view
from gallery.images.service import Images
from gallery.paging import Page


class CachedReads:
    """What clients read, from the cache where it is there: bytes of JSON, computed once for everybody."""

    def __init__(self, images: Images, cache: ImageCache, base: str) -> None:
        self._images = images
        self._cache = cache
        self._base = base

    async def image(self, caller: Caller, image_id: ImageId) -> CachedImage:
        """Raises `ImageNotFound`."""
        entry = await self._cache.find_image(image_id)
        if entry is None:
            read = self._images.get_current if self._cache.usable else self._images.get  # only what is current is kept
            entry = self.encode(await read(caller, image_id))
            await self._cache.put_image(image_id, entry)
        if not caller.may_see(image_id, entry.owner, public=entry.public):
            raise caller.not_visible_error(image_id)
        return entry

    async def page(self, caller: Caller, query: ListQuery) -> CachedList:
        """Raises `InvalidField`."""
        if query.words and self._images.has_replicas:  # a search is dear and seldom asked twice: a replica's work
            return self._encode_page(await self._images.page(caller, query))
        entry, token = await self._cache.find_list(caller.owner, query.fingerprint)
        if entry is None and token is None:
            entry = self._encode_page(await self._images.page(caller, query))
        elif entry is None:  # only what is current is kept
            entry = self._encode_page(await self._images.current_page(caller, query))
            await self._cache.put_list(caller.owner, query.fingerprint, token, entry)
        return entry

    def _encode_page(self, page: Page[Image]) -> CachedList:
        body = msgspec.json.encode([image_view(image, self._base) for image in page.items])
        return CachedList(body, page.next.encode() if page.next else None)

    def encode(self, image: Image) -> CachedImage:
        return CachedImage(image.owner, image.public, image.version, msgspec.json.encode(image_view(image, self._base)))
