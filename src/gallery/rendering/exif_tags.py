"""The tags of an EXIF blob, read by Pillow: IFD0 and the EXIF directory that it points to, no other directory.

Pillow reads all the values that a directory claims, fails when that is more than the file has, and ends a directory at
a value outside of the file. Therefore it gets only the wanted tags, each with a limited number of values, in a file
that is padded for them: a broken entry then does not hide the others.
"""

import io
import struct
import warnings
from collections.abc import Collection
from typing import Any

from PIL import ExifTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Tags = dict[int, str | float]

UTF8_TYPE = 129  # of Exif 3.0; Pillow 13 does not support it
HEADER_BYTES = 8
ENTRY_FORMAT = "HHL4s"  # as Pillow unpacks one: tag, type, count, value or offset
COUNT_FORMAT = "H"  # of a directory, in entries
MAX_ENTRIES = 512
MAX_VALUES = 1_024  # of one tag
MAX_VALUE_BYTES = 8
READ_ERRORS = (SyntaxError, struct.error, ValueError, TypeError, LookupError, ArithmeticError, AssertionError, OSError)


class _PaddedBytesIO(io.BytesIO):
    """Zeroes follow its end: a read always returns the requested number of bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size).ljust(size or 0, b"\0")


class _Directory(ImageFileDirectory_v2):
    """Reads at most `MAX_ENTRIES` entries, and of them the tags in `wanted`, each with at most `MAX_VALUES` values."""

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
    """The texts, and the first of the numbers, of the `wanted` tags; unreadable ones are left out."""
    wanted = {*wanted, ExifTags.IFD.Exif}
    file = _PaddedBytesIO(blob.removeprefix(b"Exif\0\0") + bytes(len(wanted) * MAX_VALUES * MAX_VALUE_BYTES))
    head = file.read(HEADER_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF is common
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
    """Returns each byte as a character, as Pillow's loader of ASCII does: that holds UTF-8 as well."""
    return data.decode("latin-1")


ImageFileDirectory_v2._load_dispatch[UTF8_TYPE] = 1, _load_utf8  # noqa: SLF001  there is no public way
