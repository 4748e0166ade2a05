"""An upload's multipart body (RFC 7578), read as it arrives: fields into memory, the file into a spool.

An exceeded limit, a malformed or an aborted body closes the spool and leaves no file.
"""

import io
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, closing
from email.message import Message
from tempfile import TemporaryFile
from typing import BinaryIO

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from gallery.errors import DigestMismatch, EmptyFile, InvalidField, MalformedBody, TooLarge, UnsupportedContentType
from gallery.images.model import ImageId
from gallery.local_disk.space import translate_disk_full
from gallery.uploads.digests import SHA256_FIELD, parse_sha256
from gallery.uploads.multipart_rules import ACCEPTED_TYPES, NO_BOUNDARY, NO_NAME, NOT_MULTIPART, broken_rule
from gallery.uploads.part_names import PartNames, part_names
from gallery.uploads.spool import Spool

FILE_FIELD = "file"  # the field that holds the picture
MAX_PARTS = 100
MAX_FIELD_BYTES = 16 * 1024
MAX_NAME_LENGTH = 255  # characters
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
MAX_OTHER_BYTES = 256 * 1024  # of a body, beside its file


class Form:
    """The text fields in the order sent, and the one file; see `UploadedFile` for `stored_as`. `claimed_sha256` is what
    the client says of the file.
    """

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file: BinaryIO = io.BytesIO()
        self.file_name = ""
        self.size = 0
        self.sha256 = ""
        self.stored_as: ImageId | None = None
        self.claimed_sha256: str | None = None

    def add_field(self, name: str, value: str) -> None:
        """Raises `InvalidField` for a SHA-256 that is none, or differs from another claim."""
        if name != SHA256_FIELD:
            self.fields.append((name, value))
        elif value.strip():
            self.claim(parse_sha256(value.strip()))

    def claim(self, sha256: str | None) -> None:
        """The client says that the file has this SHA-256. Raises `InvalidField` if it also says another one."""
        if None not in (sha256, self.claimed_sha256) and sha256 != self.claimed_sha256:
            raise InvalidField(f"/{SHA256_FIELD}", "is given twice, with different values")
        self.claimed_sha256 = sha256 or self.claimed_sha256

    def set_file(self, spool: Spool) -> None:
        """The spool has all bytes of the file."""
        self.file, self.size, self.sha256 = spool.file, spool.size, spool.sha256
        self.file.seek(0)

    def check_digest(self) -> None:
        """Raises `DigestMismatch` if the file has not the SHA-256 that the client says."""
        if self.claimed_sha256 not in (None, self.sha256):
            raise DigestMismatch(received=self.sha256, expected=self.claimed_sha256)


@asynccontextmanager
async def read_form(
    body: AsyncIterator[bytes],
    content_type: str,
    content_length: int | None,
    max_bytes: int,
    text_fields: Collection[str] = (),
    make_file: Callable[[], BinaryIO] = TemporaryFile,
) -> AsyncIterator[Form]:
    """The form in `body`, whose file may have `max_bytes`; the file is closed at the end of the block.

    `text_fields` are the names of its text fields: for a picture under any other name, the error names the right field.
    `make_file` makes the spool of a file that is too large for the memory.

    Raises `TooLarge` (before reading, if `content_length` is too large already), `MalformedBody`, `InvalidField`,
    `EmptyFile`, `NoRoom`.
    """
    boundary = _boundary(content_type)
    if content_length is not None and content_length > max_bytes + MAX_OTHER_BYTES:
        raise TooLarge(length=content_length, limit=max_bytes)
    form = Form()
    with translate_disk_full(), closing(Spool(max_bytes, make_file)) as spool:
        await _FormReader(form, spool, max_bytes, text_fields).read(body, boundary)
        if not spool.size:
            raise EmptyFile
        form.set_file(spool)
        yield form


class _FormReader:
    def __init__(self, form: Form, spool: Spool, max_bytes: int, text_fields: Collection[str]) -> None:
        self._form = form
        self._spool = spool
        self._max_bytes = max_bytes
        self._text_fields = text_fields
        self._value = bytearray()
        self._received_bytes = 0
        self._other_bytes = 0
        self._has_file = False

    async def read(self, body: AsyncIterator[bytes], boundary: str) -> None:
        part: PartNames | None = None
        try:
            with PushMultipartParser(boundary, max_segment_count=MAX_PARTS, header_charset="latin-1") as parser:
                async for chunk in body:
                    self._check_size(chunk)
                    for event in parser.parse(chunk):
                        if isinstance(event, MultipartSegment):
                            part = self._begin_part(event)
                        elif event is None:
                            self._end_part(part)
                        else:
                            self._write(part, event)
        except (MultipartError, UnicodeError) as error:
            raise MalformedBody(broken_rule(error, MAX_PARTS), cause=str(error)) from error
        if not self._has_file:
            raise InvalidField("/file", f'is missing: send the picture as the multipart field "{FILE_FIELD}"')

    def _check_size(self, chunk: bytes) -> None:
        """Count every byte, also those outside of parts: before the first boundary, in boundaries, after the last."""
        self._received_bytes += len(chunk)
        if self._received_bytes > self._max_bytes + MAX_OTHER_BYTES:
            raise TooLarge(limit=self._max_bytes)

    def _begin_part(self, segment: MultipartSegment) -> PartNames:
        part = part_names(next(v for name, v in reversed(segment.headerlist) if name == "Content-Disposition"))
        if not part.field:
            raise MalformedBody(NO_NAME)
        if part.field == FILE_FIELD:
            if self._has_file:
                raise InvalidField("/file", "is given twice; send one picture at a time")
            self._has_file = True
            self._form.file_name = clean_name(part.file or "")
        elif part.field not in (*self._text_fields, SHA256_FIELD) and (part.file is not None or _is_picture(segment)):
            raise InvalidField(f"/{part.field}", f'is an unknown field; send the picture as "{FILE_FIELD}"')
        return part

    def _write(self, part: PartNames | None, chunk: bytes | bytearray) -> None:
        if part is not None and part.field == FILE_FIELD:
            self._spool.write(chunk)
            return
        self._value += chunk
        self._other_bytes += len(chunk)
        if len(self._value) > MAX_FIELD_BYTES or self._other_bytes > MAX_OTHER_BYTES:
            raise InvalidField(f"/{part.field if part else ''}", "is too long")

    def _end_part(self, part: PartNames | None) -> None:
        if part is None or part.field == FILE_FIELD:
            return
        try:
            value = self._value.decode()
        except UnicodeDecodeError:
            raise InvalidField(f"/{part.field}", "is not valid UTF-8") from None
        self._form.add_field(part.field, value)
        self._value.clear()


def clean_name(sent: str) -> str:
    """The name without control characters; a name that is too long keeps its beginning and its end."""
    name = CONTROL_CHARACTERS.sub("", sent)
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 17]}…{name[-16:]}"


def _is_picture(part: MultipartSegment) -> bool:
    return (part.content_type or "").startswith("image/")


def _boundary(content_type: str) -> str:
    if not content_type:
        raise MalformedBody(NOT_MULTIPART)
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data":
        raise UnsupportedContentType(NOT_MULTIPART, content_type=content_type, accepted=ACCEPTED_TYPES)
    if not boundary:
        raise MalformedBody(NO_BOUNDARY, content_type=content_type)
    return boundary
