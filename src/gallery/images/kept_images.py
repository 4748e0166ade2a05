"""Rows of images in the memory of this process, for requests that need a row and then read a picture.

A row is used again while the token of its image is unchanged (`change_tokens.py`), and for the lifetime of a cached
answer at most, as a finished response is (decision 0109). So a picture that is too large for the finished responses, a
part of one, and the other renditions of an image cost no query.
"""

import time
from collections import OrderedDict

from msgspec import Struct

from gallery.access.model import Caller
from gallery.images.change_tokens import ChangeTokens, Reading, image_subject
from gallery.images.model import Image, ImageId
from gallery.images.service import Images, require_visible
from gallery.settings import CacheSettings

MAX_IMAGES = 1000  # of 2 to 20 kB each


class KeptImage(Struct, frozen=True):
    image: Image
    reading: Reading  # of the image's token, before its row was read
    valid_until: float  # `time.monotonic`


class KeptImages:
    def __init__(self, images: Images, tokens: ChangeTokens, settings: CacheSettings) -> None:
        self._images = images
        self._tokens = tokens
        self._lifetime = settings.seconds
        self._enabled = settings.enabled and settings.response_bytes > 0 and tokens.shared
        self._kept: OrderedDict[ImageId, KeptImage] = OrderedDict()

    async def get(self, caller: Caller, image_id: ImageId) -> Image:
        """The image, if the caller may see it. Raises as `Images.get` does."""
        if not self._enabled or not self._tokens.caught_up:  # else a change of another machine may never be recorded
            return await self._images.get(caller, image_id)
        image = self._find(image_id)
        if image is not None:
            return require_visible(caller, image_id, image)
        started_at, reading = time.monotonic(), self._tokens.read(image_subject(image_id))
        image = await self._images.get(caller, image_id)
        self._keep(KeptImage(image, reading, started_at + self._lifetime))
        return image

    def _find(self, image_id: ImageId) -> Image | None:
        kept = self._kept.get(image_id)
        if kept is None:
            return None
        if time.monotonic() >= kept.valid_until or not self._tokens.is_current(kept.reading):
            del self._kept[image_id]
            return None
        self._kept.move_to_end(image_id)
        return kept.image

    def _keep(self, kept: KeptImage) -> None:
        self._kept[kept.image.id] = kept
        if len(self._kept) > MAX_IMAGES:
            self._kept.popitem(last=False)
