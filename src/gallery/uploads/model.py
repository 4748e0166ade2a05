"""An upload that arrives in several requests, by tus or directly in the object store."""

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from gallery.access.model import Owner
from gallery.errors import GalleryError, UploadNotFound
from gallery.images.model import ImageId, find_id, original_key

MIB = 1024 * 1024
SMALLEST_PART_BYTES = 8 * MIB
MAX_PARTS = 9_000  # of the 10,000 that S3 takes: a part that was put in vain keeps its number

MAX_DIRECT_PARTS = 1_000  # each is signed, for one answer
MAX_PART_BYTES = 5 * 1024 * MIB  # of S3


class Protocol(StrEnum):
    TUS = "tus"
    DIRECT = "direct"
    IETF = "ietf"


class NewUpload(Struct, frozen=True, kw_only=True):
    """What a sender says of a file before its bytes: `size` in bytes, `sha256` in hex.

    Without a `size`, the last request says that it is the last one; `announced` is the size until then, if it is known.
    """

    protocol: Protocol
    size: int | None
    announced: int | None = None
    file_name: str = ""
    fields: list[tuple[str, str]] = []
    sha256: str | None = None
    idempotency_key: str | None = None
    metadata: str = ""  # the header of tus, which is sent back as it came

    @property
    def length(self) -> int | None:
        return self.announced if self.size is None else self.size


class Outcome(Struct, frozen=True):
    """How an upload has ended: with an image, or with the error that refused it."""

    image: ImageId | None = None
    duplicate: bool = False
    refusal: GalleryError | None = None


class Upload(Struct, frozen=True, kw_only=True):
    """A row of the table `upload`; sizes in bytes. `received` bytes are safe, and never have to be sent again."""

    id: ImageId
    owner: Owner
    ticket_id: str | None
    protocol: Protocol
    size: int | None
    announced: int | None
    received: int
    file_name: str
    fields: list[tuple[str, str]]
    sha256: str | None
    idempotency_key: str | None
    metadata: str
    part_bytes: int
    handle: str | None
    tail_key: str | None  # of the tails, in their order: see `tails.keys`
    stored: bool
    created_at: datetime
    expires_at: datetime
    outcome: Outcome | None

    @property
    def key(self) -> str:
        return original_key(self.id)

    @property
    def length(self) -> int | None:
        """The size as the sender has said it; the sender may still have to say which byte is the last one."""
        return self.announced if self.size is None else self.size

    @property
    def complete(self) -> bool:
        """All bytes are there; there may be no image yet."""
        return self.received == self.size

    def is_repeated_by(self, new: NewUpload) -> bool:
        """Whether `new` is the same file with the same fields, as far as both say it."""
        same_hash = None in (self.sha256, new.sha256) or self.sha256 == new.sha256
        same_length = None in (self.length, new.length) or self.length == new.length
        return same_hash and same_length and sorted_fields(new.fields) == sorted_fields(self.fields)


class Hold(Struct, frozen=True):
    """The right of one request to write an upload: `upload` as it was when the right was given to `holder`."""

    upload: Upload
    holder: str


def sorted_fields(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """By name: the order of different fields does not count."""
    return sorted(fields, key=lambda field: field[0])


def part_size(size: int, protocol: Protocol) -> int:
    """The bytes of each part but the last one, for an upload of `size` bytes."""
    most = MAX_DIRECT_PARTS if protocol is Protocol.DIRECT else MAX_PARTS
    return min(MAX_PART_BYTES, max(SMALLEST_PART_BYTES, -(-size // (most * MIB)) * MIB))


def parse_upload_id(text: str) -> ImageId:
    """Raises `UploadNotFound` for a text that is no UUID: no upload can have it."""
    id_ = find_id(text)
    if id_ is None:
        raise UploadNotFound(upload=text)
    return id_


def replace(upload: Upload, **changes: object) -> Upload:
    return msgspec.structs.replace(upload, **changes)
