"""URLs that read one image without a credential until they expire: to be given away, so made with care."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct

from gallery.access.links import Links
from gallery.access.model import Caller, Purpose
from gallery.delivery.service import DOWNLOAD, Pictures
from gallery.images.model import ImageId
from gallery.images.schema import view
from gallery.images.service import Images


class LinksWish(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """For how many seconds the links shall be good."""

    expires_in: Annotated[int, Meta(ge=1, le=7 * 24 * 3600)] = 3600


class SignedRendition(Struct, frozen=True):
    name: str
    format: str
    url: str


class LinksView(Struct, frozen=True, rename="camel"):
    """One signature, good for all of an image's bytes until `expiresAt`; `keyId` says which key has signed."""

    expires_at: datetime
    key_id: str
    srcset: dict[str, str]
    renditions: list[SignedRendition]
    original: str


class DownloadView(Struct, frozen=True, rename="camel"):
    url: str
    expires_in: int


class Sharing:
    """Signs what the caller may see; `base` stands before our paths."""

    def __init__(self, images: Images, pictures: Pictures, links: Links, base: str) -> None:
        self._images = images
        self._pictures = pictures
        self._links = links
        self._base = base

    async def of(self, caller: Caller, image_id: ImageId, wish: LinksWish) -> LinksView:
        """Raises `ImageNotFound`."""
        image = view(await self._images.get(caller, image_id), self._base)
        signed = await self._links.sign(image_id, timedelta(seconds=wish.expires_in))
        urls = {(r.name, r.format): signed.on(r.url) for r in image.renditions}
        formats = dict.fromkeys(r.format for r in image.renditions)
        return LinksView(
            expires_at=datetime.fromtimestamp(int(signed["exp"]), UTC),
            key_id=signed["kid"],
            srcset={
                f: ", ".join(f"{urls[r.name, f]} {r.width}w" for r in image.renditions if r.format == f)
                for f in formats
            },
            renditions=[SignedRendition(name, format_, url) for (name, format_), url in urls.items()],
            original=signed.on(f"{self._base}/api/v1/images/{image_id}/original"),
        )

    async def download(self, caller: Caller, image_id: ImageId, here: str) -> str:
        """A URL of the original, to be saved as a file: the object store's own, or one of ours at `here`.

        Raises `ImageNotFound`.
        """
        if url := await self._pictures.download_url(caller, image_id):
            return url
        signed = await self._links.sign(image_id, DOWNLOAD, Purpose.DOWNLOAD)
        return signed.on(f"{self._base or here}/api/v1/images/{image_id}/original")
