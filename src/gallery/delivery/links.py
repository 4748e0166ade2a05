"""Signed URLs that read one image without a credential until they expire."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct

from gallery.access.model import Caller, Purpose
from gallery.access.signed_links import SignedLinks
from gallery.delivery.service import DOWNLOAD_TTL, Pictures
from gallery.images.model import ImageId
from gallery.images.schema import image_view
from gallery.images.service import Images


class LinksRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`expiresIn`: for how many seconds the links are valid, at most seven days."""

    expires_in: Annotated[int, Meta(ge=1, le=7 * 24 * 3600)] = 3600


class SignedRendition(Struct, frozen=True):
    name: str
    format: str
    url: str


class LinksView(Struct, frozen=True, rename="camel"):
    """Signed URLs of an image's original and renditions, valid until `expiresAt`. `keyId` is the signing key's id."""

    expires_at: datetime
    key_id: str
    srcset: dict[str, str]
    renditions: list[SignedRendition]
    original: str


class DownloadView(Struct, frozen=True, rename="camel"):
    url: str
    expires_in: int


class ImageLinks:
    """Signs URLs of images that the caller may see. The URLs begin with `base`."""

    def __init__(self, images: Images, pictures: Pictures, links: SignedLinks, base: str) -> None:
        self._images = images
        self._pictures = pictures
        self._links = links
        self._base = base

    async def sign(self, caller: Caller, image_id: ImageId, request: LinksRequest) -> LinksView:
        """Raises `ImageNotFound`."""
        image = image_view(await self._images.get(caller, image_id), self._base)
        signed = await self._links.sign(image_id, timedelta(seconds=request.expires_in))
        urls = {(r.name, r.format): signed.append_to(r.url) for r in image.renditions}
        formats = dict.fromkeys(r.format for r in image.renditions)
        return LinksView(
            expires_at=datetime.fromtimestamp(int(signed["exp"]), UTC),
            key_id=signed["kid"],
            srcset={
                f: ", ".join(f"{urls[r.name, f]} {r.width}w" for r in image.renditions if r.format == f)
                for f in formats
            },
            renditions=[SignedRendition(name, format_, url) for (name, format_), url in urls.items()],
            original=signed.append_to(f"{self._base}/api/v1/images/{image_id}/original"),
        )

    async def download_url(self, caller: Caller, image_id: ImageId, request_base_url: str) -> str:
        """A URL that downloads the original: the object store's own, else a signed one below `base`, or below
        `request_base_url` if `base` is empty. Raises `ImageNotFound`.
        """
        if url := await self._pictures.download_url(caller, image_id):
            return url
        signed = await self._links.sign(image_id, DOWNLOAD_TTL, Purpose.DOWNLOAD)
        return signed.append_to(f"{self._base or request_base_url}/api/v1/images/{image_id}/original")
