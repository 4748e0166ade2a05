"""When a photo was taken, from the many ways in which cameras and programs write it.

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
MAX_OFFSET_HOURS = 14  # hours from UTC
FRACTION_DIGITS = 3


def capture_time(timestamp: str, fraction: str = "", offset: str = "") -> str:
    """The moment in ISO 8601, with a fraction of up to three digits and an offset where they are known; or nothing.

    `fraction` and `offset` come from tags of their own, and count where `moment` has none itself. A moment that never
    was, or that no photo can be from, is nothing.
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
    """`+00:00` for `Z`; nothing for what is no offset."""
    text = text.strip()
    if text in ("Z", "z"):
        return "+00:00"
    match = OFFSET.fullmatch(text)
    if match is None:
        return ""
    sign, hours, minutes = match[1], int(match[2]), int(match[3] or 0)
    return f"{sign}{hours:02}:{minutes:02}" if hours * 60 + minutes <= MAX_OFFSET_HOURS * 60 else ""
