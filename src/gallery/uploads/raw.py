"""An upload whose body is the picture itself: its fields are in the query, its name is in `Content-Disposition`."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import BinaryIO
from urllib.parse import parse_qsl

from gallery.errors import EmptyFile, InvalidField, TooLarge
from gallery.local_disk.space import translate_disk_full
from gallery.uploads.digests import SHA256_FIELD, parse_digest_header
from gallery.uploads.form import Form, clean_name
from gallery.uploads.part_names import part_names
from gallery.uploads.spool import Spool
from gallery.validation import pointer, unknown_message

MAX_DISPOSITION_LENGTH = 4096  # characters, about as of a part's header; the rest is not read


def is_raw(content_type: str) -> bool:
    """Whether a body of this `Content-Type` is a picture. Only its content decides which one."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("image/") or media_type == "application/octet-stream"


def parse_head(
    query: bytes, dispositions: Sequence[str], digests: Mapping[str, Sequence[str]], text_fields: Collection[str]
) -> Form:
    """The form without its file: the query string, the values of `Content-Disposition`, and of each digest header.

    Raises `InvalidField`, `InvalidHeader`.
    """
    form = Form()
    for name, value in _parse_query(query):
        if name not in (*text_fields, SHA256_FIELD):
            raise InvalidField(pointer(name), unknown_message("field", [*text_fields, SHA256_FIELD]))
        form.add_field(name, value)
    for header, values in digests.items():
        form.claim(parse_digest_header(header, values))
    if dispositions:
        form.file_name = clean_name(part_names(dispositions[-1][:MAX_DISPOSITION_LENGTH]).file or "")
    return form


@asynccontextmanager
async def read_raw(
    body: AsyncIterator[bytes],
    form: Form,
    content_length: int | None,
    max_bytes: int,
    make_file: Callable[[], BinaryIO],
) -> AsyncIterator[Form]:
    """The form with `body` as its file, which may have `max_bytes`; the file is closed at the end of the block.

    Raises `TooLarge` (before reading, if `content_length` is too large already), `EmptyFile`, `NoRoom`.
    """
    if content_length is not None and content_length > max_bytes:
        raise TooLarge(length=content_length, limit=max_bytes)
    with translate_disk_full(), closing(Spool(max_bytes, make_file)) as spool:
        async for chunk in body:
            spool.write(chunk)
        if not spool.size:
            raise EmptyFile
        form.set_file(spool)
        yield form


def _parse_query(query: bytes) -> list[tuple[str, str]]:
    """Names and values, in order. Raises `InvalidField` for bytes that are not UTF-8."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    return [(_text(name, name), _text(name, value)) for name, value in pairs]


def _text(name: str, raw: str) -> str:
    try:
        return raw.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise InvalidField(pointer(name), "is not valid UTF-8") from None
