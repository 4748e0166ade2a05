"""Reads of images and lists through the cache. The result is JSON, computed once for all clients."""

import msgspec

from gallery.access.model import Caller
from gallery.images.cache import CachedImage, CachedList, ImageCache
from gallery.images.list_query import ListQuery
from gallery.images.model import Image, ImageId
from gallery.images.schema import image_view
from gallery.images.service import Images
from gallery.paging import Page


class CachedReads:
    def __init__(self, images: Images, cache: ImageCache, base: str) -> None:
        self._images = images
        self._cache = cache
        self._base = base

    async def image(self, caller: Caller, image_id: ImageId) -> CachedImage:
        """Raises `ImageNotFound`, `CredentialsRequired` (an anonymous caller) or `ScopeMissing`."""
        entry = await self._cache.find_image(image_id)
        if entry is None:  # only an answer of the primary is stored; a replica's may be old
            read = self._images.get_current if self._cache.usable else self._images.get
            entry = self.encode(await read(caller, image_id))
            await self._cache.put_image(image_id, entry)
        if not caller.may_see(image_id, entry.owner, public=entry.public):
            raise caller.not_visible_error(image_id)
        return entry

    async def page(self, caller: Caller, query: ListQuery) -> CachedList:
        """Raises `InvalidField`."""
        if (
            query.words and self._images.has_replicas and caller.only_images is None
        ):  # a search is expensive and rarely repeated: read a replica
            return self._encode_page(await self._images.page(caller, query))
        if caller.only_images is not None:  # another list than its owner's
            return self._encode_page(await self._images.current_page(caller, query))
        entry, token = await self._cache.find_list(caller.owner, query.fingerprint)
        if entry is None and token is None:
            entry = self._encode_page(await self._images.page(caller, query))
        elif entry is None:
            entry = self._encode_page(await self._images.current_page(caller, query))
            await self._cache.put_list(caller.owner, query.fingerprint, token, entry)
        return entry

    def _encode_page(self, page: Page[Image]) -> CachedList:
        body = msgspec.json.encode([image_view(image, self._base) for image in page.items])
        return CachedList(body, page.next.encode() if page.next else None)

    def encode(self, image: Image) -> CachedImage:
        return CachedImage(image.owner, image.public, image.version, msgspec.json.encode(image_view(image, self._base)))
