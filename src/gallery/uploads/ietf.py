"""The headers of the IETF's resumable uploads, read and written.

Format: https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/, as of its version 12. Clients of a draft
name its interop version; those of an RFC will name none.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from typing import Protocol as Interface

import http_sf
from msgspec import Struct

from gallery.errors import (
    EmptyFile,
    GalleryError,
    InconsistentLength,
    InvalidHeader,
    OffsetMismatch,
    TooLarge,
    UnsupportedContentType,
    UploadCompleted,
)
from gallery.uploads.form import Form
from gallery.uploads.model import NewUpload, Protocol, Upload
from gallery.uploads.raw import is_raw

CONTENT_TYPE = "application/partial-upload"
CREATION_TYPES = f"image/*, application/octet-stream, {CONTENT_TYPE}"  # for `Accept-Post`
NOT_THE_FILE = (
    "The body of a resumable upload is the picture itself. Its Content-Type is image/jpeg, another image type, or "
    "application/octet-stream."
)
INTEROP_VERSIONS = ("6", "7", "8")  # of the drafts 04 to 12, whose requests are the same
SUPPORTED = (104, "Upload Resumption Supported")
SCOPE_KEY = "gallery.ietf"  # in the scope's extensions
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"
TYPE_BY_ERROR: dict[type[GalleryError], str] = {
    OffsetMismatch: f"{PROBLEM_TYPES}mismatching-upload-offset",
    UploadCompleted: f"{PROBLEM_TYPES}completed-upload",
    InconsistentLength: f"{PROBLEM_TYPES}inconsistent-upload-length",
}


class Headers(Interface):
    """Of a request; names in any case."""

    def __contains__(self, name: object, /) -> bool: ...

    def get(self, name: str, default: str, /) -> str: ...

    def getall(self, name: str, default: list[str], /) -> list[str]: ...


class Exchange(Struct):
    """What all responses to a request of this protocol say, problems included."""

    version: str | None  # of the draft, if the client and Gallery both speak it
    limits: str  # for `Upload-Limit`
    complete: bool = False  # the file was there as a whole

    @property
    def headers(self) -> dict[str, str]:
        version = {"Upload-Draft-Interop-Version": self.version} if self.version else {}
        return version | ({"Upload-Complete": "?1"} if self.complete else {})

    def headers_of(self, error: GalleryError) -> dict[str, str]:
        return self.headers | ({"Upload-Limit": self.limits} if isinstance(error, TooLarge) else {})


class Said(Struct, frozen=True):
    """What a request says of the upload: whether its body is the last one, and the length of the file in bytes."""

    last: bool
    length: int | None


def exchange_of(scope: Mapping[str, Any]) -> Exchange | None:
    """`None` for a request of any other protocol."""
    found: Exchange | None = (scope.get("extensions") or {}).get(SCOPE_KEY)
    return found


def is_creation(headers: Headers) -> bool:
    """Whether a `POST` begins an upload of this protocol, and not one of tus."""
    return "tus-resumable" not in headers and parse_boolean(headers, "Upload-Complete") is not None


def is_append(headers: Headers) -> bool:
    return media_type(headers) == CONTENT_TYPE


def media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def version_of(headers: Headers) -> str | None:
    """The interop version that the answers name; `None` without one that Gallery speaks."""
    version = headers.get("upload-draft-interop-version", "")
    return version if version in INTEROP_VERSIONS else None


def parse_creation(headers: Headers, form: Form, said: Said, key: str | None) -> NewUpload:
    """`form` is the upload without its file. Raises `UnsupportedContentType`, `EmptyFile`."""
    kind = headers.get("content-type", "")
    if kind and not is_raw(kind) and not is_append(headers):
        raise UnsupportedContentType(NOT_THE_FILE, content_type=kind, accepted=CREATION_TYPES)
    if said.last and said.length == 0:
        raise EmptyFile
    return NewUpload(
        protocol=Protocol.IETF,
        size=None,
        announced=said.length,
        file_name=form.file_name,
        fields=form.fields,
        sha256=form.claimed_sha256,
        idempotency_key=key,
    )


def parse_said(headers: Headers, offset: int) -> Said:
    """What a request with a body from `offset` says. Raises `InvalidHeader`, `InconsistentLength`."""
    last = parse_boolean(headers, "Upload-Complete")
    if last is None:
        raise InvalidHeader("Upload-Complete", "?0 or ?1")
    length, content = parse_integer(headers, "Upload-Length"), content_length(headers)
    if not last or content is None:
        return Said(last, length)
    if length not in (None, offset + content):
        raise InconsistentLength(length=offset + content, said=length)
    return Said(last, offset + content)


def parse_offset(headers: Headers) -> int:
    """Raises `InvalidHeader`."""
    offset = parse_integer(headers, "Upload-Offset")
    if offset is None:
        raise InvalidHeader("Upload-Offset", "with a number of bytes")
    return offset


def content_length(headers: Headers) -> int | None:
    """Of the body; `None` for one that comes in chunks of unknown number."""
    if "transfer-encoding" in headers:
        return None
    return int(headers.get("content-length", "0"))


def parse_boolean(headers: Headers, name: str) -> bool | None:
    """A header that has another value counts as absent (3.1.2 of the draft)."""
    value = _item(headers, name)
    return value if isinstance(value, bool) else None


def parse_integer(headers: Headers, name: str) -> int | None:
    """The same, for a number that is not negative (3.1.1, 3.1.3)."""
    value = _item(headers, name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def limits(max_bytes: int, expires_at: datetime | None = None) -> str:
    """For `Upload-Limit`: bytes of a file, and the seconds that the upload has left."""
    age = "" if expires_at is None else f", max-age={max(0, int((expires_at - datetime.now(UTC)).total_seconds()))}"
    return f"max-size={max_bytes}{age}"


def state_headers(upload: Upload, max_bytes: int) -> dict[str, str]:
    """How far the upload is."""
    length = {} if upload.length is None else {"Upload-Length": str(upload.length)}
    return length | {
        "Upload-Offset": str(upload.received),
        "Upload-Complete": "?1" if upload.outcome is not None or upload.complete else "?0",
        "Upload-Limit": limits(max_bytes, upload.expires_at),
    }


def problem_members(error: GalleryError) -> dict[str, Any]:
    """What this protocol changes in the problem document of an error, by the names in `web.problems`."""
    kind = TYPE_BY_ERROR.get(type(error))
    if kind is None:
        return {}
    if not isinstance(error, OffsetMismatch):
        return {"type": kind}
    return {"type": kind, "expected_offset": error.facts["received"], "provided_offset": error.facts["sent"]}


def _item(headers: Headers, name: str) -> Any:
    values = headers.getall(name, [])
    if len(values) != 1:
        return None
    try:
        item: Any = http_sf.parse(values[0].encode("latin-1"), tltype="item")
    except (http_sf.StructuredFieldError, UnicodeEncodeError):
        return None
    return item[0]
