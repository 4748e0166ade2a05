"""Reads from EXIF what a gallery shows of a photo, and nothing else: no place, no owner, no serial number.

Format: CIPA DC-008 (Exif 3.0), a TIFF directory that points to another one. The bytes are a stranger's: only the tags
below are looked at, each within bounds, and what cannot be read is left out.
"""

import math
import struct
import unicodedata
from typing import Literal

from gallery.rendering.capture_time import capture_time

Exif = dict[str, str | int | float | list[str | int | float]]
Order = Literal["little", "big"]
Tags = dict[int, bytes | float]

MAKE, MODEL, EXIF_DIRECTORY = 0x010F, 0x0110, 0x8769
EXPOSURE_TIME, F_NUMBER, ISO, FOCAL_LENGTH, LENS = 0x829A, 0x829D, 0x8827, 0x920A, 0xA434
MOMENTS = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))
# taken, digitized, changed: the moment, its fraction of a second and its offset from UTC

ASCII, SHORT, LONG, RATIONAL, DOUBLE = 2, 3, 4, 5, 12
UNITS = {ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, DOUBLE: 8}  # bytes
MAX_ENTRIES = 512
MAX_BYTES = 1_024
MAX_TEXT = 200


def read(blob: bytes) -> Exif:
    """The facts that are there, under camelCase names; `takenAt` has an offset only if the camera wrote its zone."""
    tiff = blob.removeprefix(b"Exif\0\0")
    order: Order = "little" if tiff[:2] == b"II" else "big"
    tags = _directory(tiff, order, int.from_bytes(tiff[4:8], order))
    tags |= _directory(tiff, order, int(_number(tags, EXIF_DIRECTORY)))
    facts: Exif = {
        "camera": _camera(_text(tags, MAKE), _text(tags, MODEL)),
        "lens": _text(tags, LENS),
        "exposureTime": _exposure(_number(tags, EXPOSURE_TIME)),
        "fNumber": round(_number(tags, F_NUMBER), 2),
        "iso": int(_number(tags, ISO)),
        "focalLength": round(_number(tags, FOCAL_LENGTH), 2),
        "takenAt": _taken(tags),
    }
    return {name: fact for name, fact in facts.items() if fact}


# --- what it means ----------------------------------------------------------------------------------------------


def _camera(make: str, model: str) -> str:
    """Both, unless the model begins with its maker, as "Canon EOS R6" and "NIKON D750" (by NIKON CORPORATION) do."""
    maker = make.casefold().split()[:1]
    return model if maker == model.casefold().split()[:1] else f"{make} {model}".strip()


def _exposure(seconds: float) -> str:
    if not seconds:
        return ""
    if seconds < 0.3:
        return f"1/{round(1 / seconds)}"  # as a camera's display has it
    return f"{seconds:.2g}" if seconds < 9.5 else str(round(seconds))


def _taken(tags: Tags) -> str:
    """When it was taken; else when it was digitized, else when the file was last changed, which is not before that."""
    moments = (capture_time(*(_text(tags, tag) for tag in written)) for written in MOMENTS)
    return next((moment for moment in moments if moment), "")


# --- how it is written --------------------------------------------------------------------------------------------


def _directory(tiff: bytes, order: Order, start: int) -> Tags:
    """The values by tag: whole texts, and of numbers the first."""
    if start == 0:
        return {}
    count = min(MAX_ENTRIES, int.from_bytes(tiff[start : start + 2], order))
    first = start + 2
    entries = (tiff[at : at + 12] for at in range(first, first + 12 * count, 12))
    return {int.from_bytes(entry[:2], order): _value(tiff, order, entry) for entry in entries if len(entry) == 12}


def _value(tiff: bytes, order: Order, entry: bytes) -> bytes | float:
    kind, count = int.from_bytes(entry[2:4], order), int.from_bytes(entry[4:8], order)
    size = UNITS.get(kind, 0) * (min(count, MAX_BYTES) if kind == ASCII else 1)
    start = int.from_bytes(entry[8:12], order)
    raw = entry[8 : 8 + size] if size <= 4 else tiff[start : start + size]
    if kind == ASCII:
        return raw
    if kind == RATIONAL:
        return int.from_bytes(raw[:4], order) / (int.from_bytes(raw[4:], order) or math.inf)
    if kind == DOUBLE:
        return float(struct.unpack("<d" if order == "little" else ">d", raw.ljust(8, b"\0"))[0])
    return int.from_bytes(raw, order)


def _text(tags: Tags, tag: int) -> str:
    """Up to the first NUL, without what is no character or steers a terminal, and not too long."""
    value = tags.get(tag)
    decoded = value.split(b"\0")[0].decode("utf-8", "ignore") if isinstance(value, bytes) else ""
    return "".join(char for char in decoded if not unicodedata.category(char).startswith("C")).strip()[:MAX_TEXT]


def _number(tags: Tags, tag: int) -> float:
    """0 where there is none, or one that no camera would write."""
    value = tags.get(tag)
    return value if isinstance(value, int | float) and 1e-6 < value < 1 << 32 else 0
