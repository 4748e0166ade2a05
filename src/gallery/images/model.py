"""An image: one original, its renditions and its status."""

from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO, NewType
from uuid import UUID

import msgspec
import uuid_utils
from msgspec import UNSET, Struct, UnsetType

from gallery.access.model import Owner
from gallery.errors import ImageNotFound

ORIGINALS = "original"  # the first part of their keys

ImageId = NewType("ImageId", str)


class Status(StrEnum):
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    READY = "READY"
    FAILED = "FAILED"


class Visibility(StrEnum):
    PRIVATE = "private"
    PUBLIC = "public"


class Lane(StrEnum):
    """An image's priority: a user waits for it, it is one of many, or its earlier renditions are READY."""

    INTERACTIVE = "interactive"
    BULK = "bulk"
    MAINTENANCE = "maintenance"


class Rendition(Struct, frozen=True):
    """One picture made from the original: width and height in pixels, size in bytes."""

    name: str
    format: str
    width: int
    height: int
    size: int


class Focus(Struct, frozen=True):
    """The point that crops keep in sight, in fractions of the upright picture's width and height."""

    x: float
    y: float


class Image(Struct, frozen=True, kw_only=True):
    """A row of the table `image`. The defaults are those of a new row."""

    id: ImageId
    owner: Owner
    title: str
    description: str
    alt: str
    tags: list[str]
    visibility: Visibility
    lane: Lane
    original_name: str
    mime_type: str
    size: int
    sha256: str
    animated: bool
    focus: Focus | None = None
    width: int | None = None
    height: int | None = None
    status: Status = Status.PENDING
    version: int = 1
    attempt: int = 0
    strikes: int = 0
    losses: int = 0
    deferrals: int = 0
    queue_position: int
    next_attempt_at: datetime
    lease_until: datetime | None = None
    rendered_attempt: int | None = None
    recipe: str | None = None
    renditions: list[Rendition] = []
    thumbhash: str | None = None
    color: str | None = None
    exif: msgspec.Raw = msgspec.Raw(b"{}")
    error_code: str | None = None
    error_message: str | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def public(self) -> bool:
        return self.visibility is Visibility.PUBLIC

    @property
    def original_key(self) -> str:
        return original_key(self.id)

    def rendition(self, name: str, format: str) -> Rendition | None:  # noqa: A002  the word of the contract
        return next((r for r in self.renditions if r.name == name and r.format == format), None)

    def rendition_key(self, rendition: Rendition) -> str:
        return rendition_key(self.id, self.rendered_attempt or 0, rendition.name, rendition.format)


class UploadMetadata(Struct, frozen=True, kw_only=True):
    """The fields of an upload beside its file."""

    title: str
    description: str
    alt: str
    tags: list[str]
    visibility: Visibility
    lane: Lane
    focus: Focus | None = None


class Edit(Struct, frozen=True, kw_only=True):
    """New values; `None` leaves a field as it is, but removes the focus, which `UNSET` leaves."""

    title: str | None = None
    description: str | None = None
    alt: str | None = None
    tags: list[str] | None = None
    focus: Focus | UnsetType | None = UNSET


class UploadedFile(Struct, frozen=True):
    """A received file: `size` in bytes, `sha256` in hex. `stored_as` is the image under whose reserved key the object
    store has the bytes already; `file` reads them from there.
    """

    file: BinaryIO
    name: str
    size: int
    sha256: str
    stored_as: ImageId | None = None


def new_id() -> ImageId:
    """A UUIDv7: globally unique, and newer images have greater ids."""
    return ImageId(str(uuid_utils.uuid7()))


def parse_id(text: str) -> ImageId:
    """Raises `ImageNotFound` for a text that is no UUID: no image can have it."""
    found = find_id(text)
    if found is None:
        raise ImageNotFound(image=text)
    return found


def find_id(text: str) -> ImageId | None:
    """The id in its usual form; `None` for a text that is no UUID."""
    try:
        return ImageId(str(UUID(text)))
    except ValueError:
        return None


def original_key(image: ImageId) -> str:
    return f"{ORIGINALS}/{image}"


def rendition_key(image: ImageId, attempt: int, name: str, format: str) -> str:  # noqa: A002  the word of the contract
    return f"renditions/{image}/{attempt}/{name}.{format}"


def picture_key(image: ImageId, id_: str, format: str) -> str:  # noqa: A002  the word of the contract
    """The key of a picture that was made on demand; `id_` is new for each one."""
    return f"pictures/{image}/{id_}.{format}"


def tail_key(upload: ImageId, start: int, holder: str) -> str:
    """The key of the bytes that wait for the rest of their part, written by one request of an upload."""
    return f"tails/{upload}/{start}.{holder}"


def from_row(row: Any) -> Image:
    """An image from a database row that has all of `COLUMNS`."""
    fields = {name: row[name] for name in COLUMNS}
    fields["renditions"] = _RENDITIONS.decode(fields["renditions"])
    fields["focus"] = None if fields["focus"] is None else Focus(*fields["focus"])
    fields["exif"] = msgspec.Raw(fields["exif"])
    fields["status"] = Status(fields["status"])
    fields["visibility"] = Visibility(fields["visibility"])
    fields["lane"] = Lane(fields["lane"])
    return Image(**fields)


COLUMNS = Image.__struct_fields__
_RENDITIONS = msgspec.json.Decoder(list[Rendition])
