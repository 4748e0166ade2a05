"""The headers of tus 1.0.0 (https://tus.io/protocols/resumable-upload), read and written."""

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec

from gallery.errors import ChecksumMismatch, EmptyFile, InvalidField, InvalidHeader
from gallery.uploads.digests import SHA256_FIELD, parse_sha256
from gallery.uploads.form import clean_name
from gallery.uploads.model import NewUpload, Protocol, Upload
from gallery.uploads.responses import outcome_headers
from gallery.uploads.schema import FORM_FIELDS
from gallery.uploads.service import KEY_PATTERN
from gallery.validation import pointer, unknown_message

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
ALGORITHMS = ("sha256", "sha1")
NAME_KEYS = ("filename", "name")
IGNORED_KEYS = {"name", "type", "filetype", "relativePath", "contentType", "cacheControl"}  # that clients send unasked
MAX_METADATA_BYTES = 32 * 1024  # the fields at their longest have 20 KiB in base64
MAX_DIGITS = 15
ROUTE = {"tus": True}  # for `opt`: each response names the version


def check_extensions(headers: Mapping[str, str]) -> None:
    """Raises `InvalidHeader` for an extension of tus without which the upload would become something else."""
    if "upload-defer-length" in headers:
        raise InvalidHeader("Upload-Length", "with the file's size when the upload begins")
    if "upload-concat" in headers:
        raise InvalidHeader("no Upload-Concat:", "uploads are not joined; parallel parts are for direct uploads")


def parse_creation(length: str | None, metadata: str | None, key: str | None = None) -> NewUpload:
    """What `Upload-Length`, `Upload-Metadata` and `Idempotency-Key` say; a key in the metadata comes first.

    Raises `InvalidHeader`, `InvalidField`, `EmptyFile`.
    """
    size = parse_number("Upload-Length", length)
    if size == 0:
        raise EmptyFile
    values = _parse_metadata(metadata or "")
    name = next((values[key] for key in NAME_KEYS if values.get(key)), "")
    known = {"filename", SHA256_FIELD, "idempotencyKey", *FORM_FIELDS}
    if unknown := [key for key in values if key not in known and key not in IGNORED_KEYS]:
        raise InvalidField(pointer(unknown[0]), unknown_message("field", sorted(known)))
    return NewUpload(
        protocol=Protocol.TUS,
        size=size,
        file_name=clean_name(name),
        fields=[field for key in FORM_FIELDS if key in values for field in _fields(key, values[key])],
        sha256=parse_sha256(values[SHA256_FIELD]) if values.get(SHA256_FIELD) else None,
        idempotency_key=_parse_key(values.get("idempotencyKey")) or key,
        metadata=metadata or "",
    )


def parse_number(header: str, text: str | None) -> int:
    """A count of bytes. Raises `InvalidHeader`."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise InvalidHeader(header, "with a number of bytes")
    return int(text)


def upload_headers(upload: Upload, base: str) -> dict[str, str]:
    """What each response says of the upload."""
    headers = {"Upload-Offset": str(upload.received), "Upload-Expires": http_date(upload.expires_at)}
    if upload.size is not None:
        headers["Upload-Length"] = str(upload.size)
    return headers | outcome_headers(upload, base)


def http_date(at: datetime) -> str:
    return format_datetime(at.astimezone(UTC), usegmt=True)


class Chunk:
    """The body of one request. With an `Upload-Checksum`, its bytes count only once all are there and have that sum."""

    def __init__(self, blocks: AsyncIterator[bytes], checksum: str | None, size: int | None) -> None:
        """`size` in bytes, if the request says it. Raises `InvalidHeader`."""
        self._blocks = blocks
        self.size = size
        self.at_once = checksum is not None
        if checksum is not None:
            algorithm, _, text = checksum.partition(" ")
            if algorithm not in ALGORITHMS:
                raise InvalidHeader("Upload-Checksum", f"with one of {', '.join(ALGORITHMS)} and the sum in base64")
            self._digest = hashlib.new(algorithm, usedforsecurity=False)
            self._expected = _decode_base64("Upload-Checksum", text)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for block in self._blocks:
            if self.at_once:
                self._digest.update(block)
            yield block

    def check(self) -> None:
        """Raises `ChecksumMismatch`."""
        if self.at_once and self._digest.digest() != self._expected:
            raise ChecksumMismatch


def _parse_metadata(text: str) -> dict[str, str]:
    """Pairs of a key and a value in base64, or keys alone."""
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidHeader("Upload-Metadata", f"with at most {MAX_METADATA_BYTES} characters")
    values: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        key, _, encoded = pair.partition(" ")
        if key in values:
            raise InvalidField(pointer(key), "is given twice")
        try:
            values[key] = _decode_base64("Upload-Metadata", encoded.strip()).decode()
        except UnicodeDecodeError:
            raise InvalidField(pointer(key), "is not valid UTF-8") from None
    return values


def _decode_base64(header: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidHeader(header, "with its values in base64") from None


def _fields(key: str, value: str) -> list[tuple[str, str]]:
    if key != "tags" or not value.strip():
        return [(key, value)]
    try:
        tags = msgspec.json.decode(value, type=list[str])
    except msgspec.DecodeError:
        raise InvalidField("/tags", "must be a JSON array of strings") from None
    return [(key, tag) for tag in tags]


def _parse_key(text: str | None) -> str | None:
    if not text:
        return None
    if KEY_PATTERN.fullmatch(text) is None:
        raise InvalidField("/idempotencyKey", "must have 1 to 255 visible ASCII characters")
    return text
