"""Parses the time at which a photo was taken, in the notations that cameras and programs use.

Exif 3.0 wants `2024:07:14 18:30:05`, with the fraction and the zone in tags of their own. Phones and programs also
write a zone or a fraction behind it, `-` or `/` for the first two colons, and a `T` for the blank.
"""

import re
from datetime import datetime

MIN_YEAR, MAX_YEAR = 1826, 2100
TIMESTAMP = re.compile(
    r"(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)[T ]+(\d\d?)[:.](\d\d)(?:[:.](\d\d))?"
    r"(?:[.,](?P<fraction>\d+))?\s*(?P<offset>[Zz]|[+-][\d:]+)?",
    re.ASCII,
)
OFFSET = re.compile(r"([+-])(\d\d?):?([0-5]\d)?", re.ASCII)
MAX_OFFSET_HOURS = 14  # from UTC
FRACTION_DIGITS = 3


def capture_time(timestamp: str, fraction: str = "", offset: str = "") -> str:
    """The time in ISO 8601, with up to three digits of fraction and an offset where they are known.

    `fraction` and `offset` come from separate tags and are used where `timestamp` has none itself. Returns "" for an
    impossible date and for a year in which no photo can have been taken.
    """
    match = TIMESTAMP.fullmatch(timestamp.strip())
    if match is None:
        return ""
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        local = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  the zone is often unknown
    except ValueError:
        return ""
    if not MIN_YEAR <= local.year <= MAX_YEAR:
        return ""
    return local.isoformat() + _fraction(match["fraction"] or fraction) + _offset(match["offset"] or offset)


def _fraction(text: str) -> str:
    digits = re.match(r"\d*", text.strip(), re.ASCII)
    kept_digits = digits[0][:FRACTION_DIGITS].rstrip("0") if digits else ""
    return f".{kept_digits}" if kept_digits else ""


def _offset(text: str) -> str:
    """`+00:00` for `Z`; "" for an invalid offset."""
    text = text.strip()
    if text in ("Z", "z"):
        return "+00:00"
    match = OFFSET.fullmatch(text)
    if match is None:
        return ""
    sign, hours, minutes = match[1], int(match[2]), int(match[3] or 0)
    return f"{sign}{hours:02}:{minutes:02}" if hours * 60 + minutes <= MAX_OFFSET_HOURS * 60 else ""
