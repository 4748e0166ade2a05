"""The JSON of Gallery as structs, and the parameters of calls.

Unknown fields are ignored, so newer servers may have more.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict

from msgspec import Struct

Status: TypeAlias = Literal["PENDING", "PROCESSING", "READY", "FAILED"]
Visibility: TypeAlias = Literal["private", "public"]
Lane: TypeAlias = Literal["interactive", "bulk"]
Sort: TypeAlias = Literal["-createdAt", "createdAt", "-takenAt", "title", "-size"]


class Focus(Struct, frozen=True):
    """The point that crops keep in sight: from 0 (left, top) to 1 (right, bottom)."""

    x: float
    y: float

    def __str__(self) -> str:
        return f"{self.x:.6g},{self.y:.6g}"


class Rendition(Struct, frozen=True):
    """A rendered file: `width` and `height` in pixels, `size` in bytes."""

    name: str
    format: str
    width: int
    height: int
    size: int
    url: str


class ImageError(Struct, frozen=True):
    """Why an image is FAILED."""

    code: str
    message: str


class Placeholder(Struct, frozen=True):
    """A preview to show while the picture loads: a ThumbHash in base64, and the dominant colour as `#rrggbb`."""

    thumbhash: str
    color: str


class Image(Struct, frozen=True, kw_only=True, rename="camel"):
    """An image. `size` in bytes; `width` and `height` in pixels of the upright picture, `None` until READY.

    `sha256` is that of the stored bytes. `duplicate`, of an upload: the image was there already.
    """

    id: str
    title: str
    description: str
    alt: str
    tags: list[str]
    original_name: str
    mime_type: str
    size: int
    sha256: str
    width: int | None
    height: int | None
    status: Status
    version: int
    attempts: int
    error: ImageError | None
    animated: bool
    focus: Focus | None
    visibility: Visibility
    renditions: list[Rendition]
    srcset: dict[str, str]
    original: str
    s3_key: str
    s3_url: str | None
    placeholder: Placeholder | None
    exif: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    duplicate: bool = False


class Event(Struct, frozen=True, kw_only=True, rename="camel"):
    """A change of an image: `type` is `image.uploaded`, `.processing`, `.ready`, `.failed`, `.updated` or `.deleted`.

    The type `reset`, without an image, means that earlier events are not known any more: read the list again.
    """

    id: str = ""
    type: str = ""
    image_id: str | None = None
    status: Status | None = None
    version: int | None = None
    timestamp: datetime | None = None
    title: str | None = None
    s3_url: str | None = None
    error: ImageError | None = None


class UploadTicket(Struct, frozen=True, rename="camel"):
    """For a browser: `Authorization: Upload <ticket>`, for `expires_in` seconds."""

    ticket: str
    expires_in: int
    id: str


class UploadFields(TypedDict, total=False):
    """Without a title, the file's name becomes the title. `focus` is a `Focus` or a pair of x and y."""

    title: str
    description: str
    alt: str
    tags: list[str] | tuple[str, ...]
    visibility: Visibility
    lane: Lane
    focus: Focus | tuple[float, float]


class Changes(TypedDict, total=False):
    """Fields that are not named stay as they are; `focus=None` removes the focus."""

    title: str
    description: str
    alt: str
    tags: list[str] | tuple[str, ...]
    focus: Focus | tuple[float, float] | None


class ImageFilter(TypedDict, total=False):
    """Images with all words of `search` and all `tags`, in one of the statuses. `limit` is that of a page, 1 to 200."""

    search: str
    tags: list[str] | tuple[str, ...]
    status: Status | list[Status] | tuple[Status, ...]
    sort: Sort
    limit: int
    signed: bool


class TicketRules(TypedDict, total=False):
    """`uses` uploads (1) within `expires_in` seconds (600); the rest limits or sets what is uploaded."""

    uses: int
    expires_in: int
    max_bytes: int
    types: list[str] | tuple[str, ...]
    visibility: Visibility
    tags: list[str] | tuple[str, ...]
    lane: Lane


class PictureQuery(TypedDict, total=False):
    """A picture on demand; docs/app/pictures-on-demand.md describes the parameters."""

    w: int
    h: int
    dpr: float
    fit: Literal["inside", "cover", "contain", "fill"]
    focus: str | Focus | tuple[float, float]
    rect: str | tuple[int, int, int, int]
    rotate: Literal[90, 180, 270]
    flip: Literal["h", "v", "hv"]
    format: Literal["auto", "avif", "webp", "jpeg", "png"]
    q: int
    bg: str
    blur: float
    sharpen: float
    gray: bool
    preset: str


def focus_of(point: Focus | tuple[float, float]) -> Focus:
    return point if isinstance(point, Focus) else Focus(*point)
