"""Reads the EXIF fields that a gallery shows, and no others: no location, no owner, no serial number.

Format: CIPA DC-008 (Exif 3.0). Only the tags below are read, and unreadable ones are left out. Pillow returns a text
as one character a byte; it is decoded as UTF-8 here, which includes ASCII.
"""

import unicodedata

from gallery.rendering.capture_time import capture_time

Exif = dict[str, str | int | float | list[str | int | float]]
Tags = dict[int, str | float]

MAKE, MODEL = 0x010F, 0x0110
EXPOSURE_TIME, F_NUMBER, ISO, FOCAL_LENGTH, LENS = 0x829A, 0x829D, 0x8827, 0x920A, 0xA434
TIMESTAMP_TAGS = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))
# taken, digitized, changed: the time, its fraction of a second and its offset from UTC
WANTED_TAGS = {
    MAKE,
    MODEL,
    EXPOSURE_TIME,
    F_NUMBER,
    ISO,
    FOCAL_LENGTH,
    LENS,
    *(tag for each in TIMESTAMP_TAGS for tag in each),
}

MAX_TEXT_LENGTH = 200


def read(blob: bytes) -> Exif:
    """The fields found, under camelCase names; `takenAt` has an offset only if the camera wrote its zone."""
    from gallery.rendering import exif_tags  # noqa: PLC0415  Pillow, not before it is needed

    tags = exif_tags.read(blob, WANTED_TAGS)
    fields: Exif = {
        "camera": _camera(_text(tags, MAKE), _text(tags, MODEL)),
        "lens": _text(tags, LENS),
        "exposureTime": _exposure_time(_number(tags, EXPOSURE_TIME)),
        "fNumber": round(_number(tags, F_NUMBER), 2),
        "iso": int(_number(tags, ISO)),
        "focalLength": round(_number(tags, FOCAL_LENGTH), 2),
        "takenAt": _taken_at(tags),
    }
    return {name: value for name, value in fields.items() if value}


# --- the value of each field ------------------------------------------------------------------------------------


def _camera(make: str, model: str) -> str:
    """Maker and model; only the model if it begins with the maker: "Canon EOS R6", "NIKON D750" (NIKON CORPORATION)."""
    maker = make.casefold().split()[:1]
    return model if maker == model.casefold().split()[:1] else f"{make} {model}".strip()


def _exposure_time(seconds: float) -> str:
    if not seconds:
        return ""
    if seconds < 0.3:
        return f"1/{round(1 / seconds)}"  # as on a camera's display
    return f"{seconds:.2g}" if seconds < 9.5 else str(round(seconds))


def _taken_at(tags: Tags) -> str:
    """The time at which it was taken, else digitized, else at which the file was last changed."""
    timestamps = (capture_time(*(_text(tags, tag) for tag in group)) for group in TIMESTAMP_TAGS)
    return next((timestamp for timestamp in timestamps if timestamp), "")


def _text(tags: Tags, tag: int) -> str:
    """The text up to the first NUL, without control characters, at most `MAX_TEXT_LENGTH` long."""
    value = tags.get(tag)
    raw = value.encode("latin-1", "ignore") if isinstance(value, str) else b""
    decoded = raw.split(b"\0")[0].decode("utf-8", "ignore")
    return "".join(char for char in decoded if not unicodedata.category(char).startswith("C")).strip()[:MAX_TEXT_LENGTH]


def _number(tags: Tags, tag: int) -> float:
    """The number, or 0 where it is missing or no camera would write it."""
    value = tags.get(tag)
    return value if isinstance(value, int | float) and 1e-6 < value < 1 << 32 else 0
