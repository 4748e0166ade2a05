"""An upload's multipart body (RFC 7578), read as it arrives: fields into memory, the file into a spool.

The file is hashed and counted on the way and never whole in memory: beyond `IN_MEMORY` bytes the spool is a nameless
temporary file. Whatever ends the reading (limits, a malformed or aborted body) closes the spool and leaves nothing.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from email.message import Message
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from gallery.errors import InvalidField, MalformedBody, TooLarge
from gallery.local_disk.space import needing_room
from gallery.uploads.multipart_rules import NO_BOUNDARY, NO_FORM, NO_NAME, rule_of
from gallery.uploads.part_names import PartNames, part_names

FILE = "file"  # the field that holds the picture
IN_MEMORY = 1024 * 1024
MOST_PARTS = 100
MOST_FIELD_BYTES = 16 * 1024
MOST_NAME = 255  # characters
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MOST_OTHER_BYTES = 256 * 1024  # all that a body may hold besides its file


class Form:
    """The fields in the order of the body, and the one file."""

    def __init__(self, spool: BinaryIO) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file = spool
        self.file_name = ""
        self.size = 0
        self.sha256 = ""


@asynccontextmanager
async def read_form(
    body: AsyncIterator[bytes], content_type: str, length: int | None, most: int, fields: Collection[str] = ()
) -> AsyncIterator[Form]:
    """The form in `body`, whose file has `most` bytes at most; the file is closed at the end of the block.

    `fields` are the names of its text fields: a picture under any other name is told how it should be sent.

    Raises `TooLarge` (at once when `length`, the declared size of the body, says so), `MalformedBody`, `InvalidField`,
    `NoRoom`.
    """
    boundary = _boundary(content_type)
    if length is not None and length > most + MOST_OTHER_BYTES:
        raise TooLarge(length=length, limit=most)
    with needing_room(), SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
        form = Form(cast("BinaryIO", spool))  # it is one, though its type does not say so
        await _Reader(form, most, fields).read(body, boundary)
        spool.seek(0)
        yield form


class _Reader:
    def __init__(self, form: Form, most: int, fields: Collection[str]) -> None:
        self._form = form
        self._most = most
        self._fields = fields
        self._digest = hashlib.sha256()
        self._value = bytearray()
        self._received = 0
        self._other = 0
        self._has_file = False

    async def read(self, body: AsyncIterator[bytes], boundary: str) -> None:
        part: PartNames | None = None
        try:
            with PushMultipartParser(boundary, max_segment_count=MOST_PARTS, header_charset="latin-1") as parser:
                async for chunk in body:
                    self._count(chunk)
                    for event in parser.parse(chunk):
                        if isinstance(event, MultipartSegment):
                            part = self._begin(event)
                        elif event is None:
                            self._end(part)
                        else:
                            self._take(part, event)
        except (MultipartError, UnicodeError) as error:
            raise MalformedBody(rule_of(error, MOST_PARTS), cause=str(error)) from error
        if not self._has_file:
            raise InvalidField("/file", f'is missing: send the picture as the multipart field "{FILE}"')
        self._form.sha256 = self._digest.hexdigest()

    def _count(self, chunk: bytes) -> None:
        """Every byte, also of no part: what stands before the first boundary, between two and after the last."""
        self._received += len(chunk)
        if self._received > self._most + MOST_OTHER_BYTES:
            raise TooLarge(limit=self._most)

    def _begin(self, segment: MultipartSegment) -> PartNames:
        part = part_names(next(v for name, v in reversed(segment.headerlist) if name == "Content-Disposition"))
        if not part.field:
            raise MalformedBody(NO_NAME)
        if part.field == FILE:
            if self._has_file:
                raise InvalidField("/file", "is there twice; send one picture at a time")
            self._has_file = True
            self._form.file_name = _name(part.file or "")
        elif part.field not in self._fields and (part.file is not None or _is_picture(segment)):
            raise InvalidField(f"/{part.field}", f'is an unknown field; send the picture as "{FILE}"')
        return part

    def _take(self, part: PartNames | None, chunk: bytes | bytearray) -> None:
        if part is not None and part.field == FILE:
            self._form.size += len(chunk)
            if self._form.size > self._most:
                raise TooLarge(limit=self._most)
            self._digest.update(chunk)
            self._form.file.write(chunk)
            return
        self._value += chunk
        self._other += len(chunk)
        if len(self._value) > MOST_FIELD_BYTES or self._other > MOST_OTHER_BYTES:
            raise InvalidField(f"/{part.field if part else ''}", "is too long")

    def _end(self, part: PartNames | None) -> None:
        if part is None or part.field == FILE:
            return
        try:
            self._form.fields.append((part.field, self._value.decode()))
        except UnicodeDecodeError:
            raise InvalidField(f"/{part.field}", "is not UTF-8") from None
        self._value.clear()


def _name(sent: str) -> str:
    """Data, whatever it says; but no name has control characters, and a longer one keeps its beginning and its end."""
    name = CONTROL.sub("", sent)
    return name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 17]}…{name[-16:]}"


def _is_picture(part: MultipartSegment) -> bool:
    return (part.content_type or "").startswith("image/")


def _boundary(content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data":
        raise MalformedBody(NO_FORM, content_type=content_type)
    if not boundary:
        raise MalformedBody(NO_BOUNDARY, content_type=content_type)
    return boundary
