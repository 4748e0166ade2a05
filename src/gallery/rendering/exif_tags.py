"""The tags of an EXIF blob, read by Pillow: IFD0 and the EXIF directory that it points to, and no other.

Pillow reads all that a directory claims, gives up once that is more than the file has, and ends a directory where a
value lies outside of the file. So it sees the wanted tags alone, each up to a bound, in a file with room for them:
then a broken entry costs no other its place.
"""

import io
import struct
import warnings
from collections.abc import Collection
from typing import Any

from PIL import ExifTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Tags = dict[int, str | float]

UTF8_TYPE = 129  # of Exif 3.0, which Pillow 13 does not know
HEADER_BYTES = 8  # bytes
ENTRY_FORMAT = "HHL4s"  # as Pillow unpacks one: tag, type, count, value or offset
COUNT_FORMAT = "H"  # of a directory, in entries
MAX_ENTRIES = 512
MAX_VALUES = 1_024  # values of one tag
MAX_VALUE_BYTES = 8  # bytes of a value
READ_ERRORS = (SyntaxError, struct.error, ValueError, TypeError, LookupError, ArithmeticError, AssertionError, OSError)


class _PaddedBytesIO(io.BytesIO):
    """Zeroes follow its end: some are part of it, and reading always gets as many as it wants."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size).ljust(size or 0, b"\0")


class _Directory(ImageFileDirectory_v2):
    """`MAX_ENTRIES` at most, and of them the tags of `wanted`, each with `MAX_VALUES` values at most."""

    wanted: Collection[int] = ()

    def _unpack(self, fmt: str, data: bytes) -> tuple[Any, ...]:
        found = super()._unpack(fmt, data)
        if fmt == COUNT_FORMAT:
            return (min(found[0], MAX_ENTRIES),)
        if fmt != ENTRY_FORMAT:
            return found
        tag, kind, count, value = found
        return tag, kind if tag in self.wanted else 0, min(count, MAX_VALUES), value  # there is no type 0


def read(blob: bytes, wanted: Collection[int]) -> Tags:
    """Texts, and of numbers the first, of these tags; what cannot be read is left out."""
    wanted = {*wanted, ExifTags.IFD.Exif}
    file = _PaddedBytesIO(blob.removeprefix(b"Exif\0\0") + bytes(len(wanted) * MAX_VALUES * MAX_VALUE_BYTES))
    head = file.read(HEADER_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damage, which is nothing new in EXIF
        try:
            main, details = _Directory(head), _Directory(head, group=ExifTags.IFD.Exif)
        except READ_ERRORS:
            return {}
        main.wanted = details.wanted = wanted
        tags = _read_directory(main, file, main.next)
        start = tags.get(ExifTags.IFD.Exif, 0)
        if isinstance(start, float) and 0 < start < len(blob):
            tags |= _read_directory(details, file, int(start))
        return tags


def _read_directory(directory: _Directory, file: io.BytesIO, start: int) -> Tags:
    if start == 0:
        return {}
    try:
        file.seek(start)
        directory.load(file)
    except READ_ERRORS:
        return {}
    found = ((tag, _read_value(directory, tag)) for tag in directory)
    return {tag: value for tag, value in found if value is not None}


def _read_value(directory: _Directory, tag: int) -> str | float | None:
    try:
        value: Any = directory[tag]
        first = value[0] if isinstance(value, tuple) else value
        return first if isinstance(first, str) else float(first)
    except READ_ERRORS:
        return None


def _load_utf8(_: ImageFileDirectory_v2, data: bytes, legacy_api: bool = True) -> str:  # noqa: ARG001
    """As Pillow's loader of ASCII, which gives each byte as a character: UTF-8 is written there, too."""
    return data.decode("latin-1")


ImageFileDirectory_v2._load_dispatch[UTF8_TYPE] = 1, _load_utf8  # noqa: SLF001  there is no public way
