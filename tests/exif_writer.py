"""Writes EXIF with all types and byte orders that cameras use, which no library does."""

import struct
from collections.abc import Sequence

ASCII, SHORT, LONG, RATIONAL, SLONG, SRATIONAL, FLOAT, DOUBLE, UTF8 = 2, 3, 4, 5, 9, 10, 11, 12, 129
FORMATS = {SHORT: "H", LONG: "I", SLONG: "i", FLOAT: "f", DOUBLE: "d", RATIONAL: "II", SRATIONAL: "ii"}

Entry = tuple[int, int, int, bytes]  # tag, type, count, value
Number = float | tuple[int, int]  # a rational is two


def text(tag: int, value: str, kind: int = ASCII) -> Entry:
    raw = value.encode() + b"\0"
    return tag, kind, len(raw), raw


def number(tag: int, kind: int, *values: Number, order: str = "<") -> Entry:
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return tag, kind, len(values), struct.pack(f"{order}{FORMATS[kind] * len(values)}", *flat)


def make_exif(main: Sequence[Entry], details: Sequence[Entry], order: str = "<") -> bytes:
    """IFD0 with a pointer to the EXIF directory, without the six bytes before it."""
    pointer = (0x8769, LONG, 1, struct.pack(f"{order}I", 8 + len(directory([*main, (0x8769, LONG, 1, b"")], 8, order))))
    first = directory([*main, pointer], 8, order)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + first + directory(details, 8 + len(first), order)


def in_jpeg(exif: bytes, jpeg: bytes) -> bytes:
    segment = b"Exif\0\0" + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def directory(entries: Sequence[Entry], start: int, order: str) -> bytes:
    out, data = struct.pack(f"{order}H", len(entries)), b""
    behind = start + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        inline = value.ljust(4, b"\0")
        if len(value) > 4:
            inline = struct.pack(f"{order}I", behind + len(data))
            data += value + bytes(len(value) % 2)
        out += struct.pack(f"{order}HHI", tag, kind, count) + inline
    return out + bytes(4) + data
