"""Signed URLs that read one image without a credential until they expire."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gallery.access.model import Caller, Purpose
from gallery.access.signed_links import LinkSigner, SignedLinks
from gallery.delivery.picture_query import canonical
from gallery.delivery.picture_requests import PictureRequests
from gallery.delivery.service import DOWNLOAD_TTL, Pictures
from gallery.errors import InvalidField, MalformedRequest
from gallery.images.model import Image, ImageId, find_id
from gallery.images.schema import image_view, original_url, srcset
from gallery.images.service import Images

MAX_IMAGES = 200  # of one request
MAX_PICTURES = 20  # of one image in one request
MAX_QUERY_LENGTH = 1000  # characters
LinkLifetime: TypeAlias = Annotated[int, Meta(ge=1, le=7 * 24 * 3600)]  # seconds
PictureTexts: TypeAlias = Annotated[
    list[Annotated[str, Meta(max_length=MAX_QUERY_LENGTH)]], Meta(max_length=MAX_PICTURES)
]
PictureQueries: TypeAlias = Sequence[tuple[str, dict[str, str]]]  # each as it was sent, and its parameters


class LinksRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`expiresIn`: for how many seconds the links are valid, at most seven days. `pictures`: queries of pictures on
    demand, such as `w=800&h=600&fit=cover`, at most 20.
    """

    expires_in: LinkLifetime = 3600
    pictures: PictureTexts | None = None


class ManyLinksRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ids of at most 200 images. `expiresIn`: for how many seconds the links are valid, at most seven days; without
    it they are valid for one to two hours, and the same for all callers within one hour, so browsers may cache.
    `pictures`: queries of pictures on demand, such as `w=800&h=600&fit=cover`, at most 20.
    """

    ids: Annotated[list[str], Meta(max_length=MAX_IMAGES)]
    expires_in: LinkLifetime | None = None
    pictures: PictureTexts | None = None


class SignedRendition(Struct, frozen=True):
    name: str
    format: str
    url: str


class SignedPicture(Struct, frozen=True):
    """A query of the request, and the URL that shows exactly this picture."""

    query: str
    url: str


class LinksView(Struct, frozen=True, rename="camel"):
    """Signed URLs of an image's original and renditions, and of the `pictures` that were asked for, valid until
    `expiresAt`. `keyId` is the signing key's id.
    """

    __schema_name__ = "SignedLinks"

    expires_at: datetime
    key_id: str
    srcset: dict[str, str]
    renditions: list[SignedRendition]
    original: str
    pictures: list[SignedPicture] | UnsetType = UNSET


class ImageLinksView(LinksView, frozen=True, rename="camel", kw_only=True):
    """The same with the image's id."""

    __schema_name__ = "SignedImageLinks"

    id: ImageId


class DownloadView(Struct, frozen=True, rename="camel"):
    __schema_name__ = "DownloadLink"

    url: str
    expires_in: int


class ImageLinks:
    """Signs URLs of images that the caller may see. The URLs begin with `base`."""

    def __init__(
        self, images: Images, pictures: Pictures, picture_requests: PictureRequests, links: SignedLinks, base: str
    ) -> None:
        self._images = images
        self._pictures = pictures
        self._picture_requests = picture_requests
        self._links = links
        self._base = base

    async def sign(self, caller: Caller, image_id: ImageId, request: LinksRequest) -> LinksView:
        """Raises `ImageNotFound`, `InvalidField`, `PresetNotFound`."""
        queries = self._parse(request.pictures)
        image = await self._images.get(caller, image_id)
        signer = await self._links.signer(timedelta(seconds=request.expires_in))
        return LinksView(**self._signed_fields(image, signer, queries))

    async def sign_many(self, caller: Caller, request: ManyLinksRequest) -> list[ImageLinksView]:
        """Links to those of the images that the caller may see, each image once.

        Raises `InvalidField`, `PresetNotFound`.
        """
        queries = self._parse(request.pictures)
        ids = list(dict.fromkeys(id_ for text in request.ids if (id_ := find_id(text)) is not None))
        images = await self._images.find_visible(caller, ids)
        if request.expires_in is None:
            signer = await self._links.window_signer()
        else:
            signer = await self._links.signer(timedelta(seconds=request.expires_in))
        return [ImageLinksView(id=image.id, **self._signed_fields(image, signer, queries)) for image in images]

    def _parse(self, texts: Sequence[str] | None) -> PictureQueries | None:
        """The parameters of each query."""
        if texts is None:
            return None
        return [(text, self._parse_one(f"/pictures/{index}", text)) for index, text in enumerate(texts)]

    def _parse_one(self, pointer: str, text: str) -> dict[str, str]:
        try:
            sent = self._picture_requests.parse(text.encode()).sent
        except InvalidField as error:
            raise InvalidField(f"{pointer}{error.pointer}", error.detail) from error
        except MalformedRequest as error:
            raise InvalidField(pointer, "is not a query such as w=800&h=600&fit=cover") from error
        return dict(parse_qsl(canonical(sent)))

    def _signed_fields(self, image: Image, signer: LinkSigner, queries: PictureQueries | None) -> dict[str, Any]:
        """The values of a `LinksView`."""
        view = image_view(image, self._base)
        signed = signer.sign(image.id)
        renditions = [msgspec.structs.replace(r, url=signed.append_to(r.url)) for r in view.renditions]
        return {
            "expires_at": datetime.fromtimestamp(signer.expires, UTC),
            "key_id": signer.key.id,
            "srcset": srcset(renditions),
            "renditions": [SignedRendition(r.name, r.format, r.url) for r in renditions],
            "original": signed.append_to(view.original),
            "pictures": UNSET if queries is None else self._signed_pictures(image, signer, queries),
        }

    def _signed_pictures(self, image: Image, signer: LinkSigner, queries: PictureQueries) -> list[SignedPicture]:
        """With the version in each URL, so that browsers may keep the picture."""
        url = f"{self._base}/api/v1/images/{image.id}/picture"
        version = {"v": self._picture_requests.version(image)}
        return [
            SignedPicture(text, f"{url}?{signer.sign_picture(image.id, parameters | version)}")
            for text, parameters in queries
        ]

    async def download_url(self, caller: Caller, image_id: ImageId, request_base_url: str) -> str:
        """A URL that downloads the original: the object store's own, else a signed one below `base`, or below
        `request_base_url` if `base` is empty. Raises `ImageNotFound`.
        """
        if url := await self._pictures.download_url(caller, image_id):
            return url
        signed = await self._links.sign(image_id, DOWNLOAD_TTL, Purpose.DOWNLOAD)
        return signed.append_to(original_url(image_id, self._base or request_base_url))
