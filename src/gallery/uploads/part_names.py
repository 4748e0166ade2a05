"""The names in the `Content-Disposition` of a part (RFC 7578, 4.2), in the encodings that clients use.

Browsers send plain UTF-8. Other clients send `filename*` (RFC 8187), encoded words (RFC 2047, which are for mail), or
the bytes of their machine's code page. A picture is never refused for its file name.
"""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import NamedTuple
from urllib.parse import unquote

from multipart import parse_content_disposition

CODE_PAGE = "cp1252"  # the most common one of machines that do not send UTF-8
EXTENDED_FILENAME = re.compile(
    r""";\s*filename\*\s*=\s*"?([\w-]+)'[^']*'([^";\s]*)""", re.ASCII | re.IGNORECASE
)  # RFC 8187
DECODING_ERRORS = (UnicodeError, LookupError, ValueError, HeaderParseError)


class PartNames(NamedTuple):
    field: str
    file: str | None  # `None`: the part is a text field


def part_names(disposition: str) -> PartNames:
    """The names in the header's value, whose bytes were decoded as Latin-1."""
    text = _decoded(disposition.encode("latin-1"))
    _, field, file = parse_content_disposition(text)
    if extended := EXTENDED_FILENAME.search(text):
        file = _extended(*extended.groups()) or file
    if file and "=?" in file:
        file = _encoded_words(file)
    return PartNames(field or "", file)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode(CODE_PAGE, errors="replace")


def _extended(charset: str, encoded: str) -> str:
    """The name in `utf-8''Z%C3%BCrich.jpg`; empty if it cannot be decoded."""
    try:
        return unquote(encoded, encoding=charset, errors="strict")
    except DECODING_ERRORS:
        return ""


def _encoded_words(text: str) -> str:
    try:
        return str(make_header(decode_header(text)))
    except DECODING_ERRORS:
        return text
