"""Conditional and partial requests (RFC 9110, sections 13 and 14): what `If-Match`, `If-None-Match`, `If-Range` and
`RangeHeader` ask for.
"""

import re

from gallery.errors import RangeOutside

ETAG_PATTERN = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')
RANGE_PATTERN = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,30})-([0-9]{0,30})[ \t]*", re.IGNORECASE)


def unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether a client that sends `if_none_match` has what carries the strong `tag` (without quotes) already."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or any(opaque == etag for _, opaque in ETAG_PATTERN.findall(if_none_match))


def expected_versions(if_match: str | None) -> list[int] | None:
    """The versions that `if_match` allows; `None` allows any. Weak and foreign tags allow nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = ETAG_PATTERN.findall(if_match)
    return [
        int(opaque) for weak, opaque in tags if not weak and opaque.isascii() and opaque.isdigit() and len(opaque) < 10
    ]


def byte_range(range_header: str | None, if_range: str | None, etag: str, size: int) -> tuple[int, int] | None:
    """The first byte asked for and the one after the last, of `size` bytes that carry the strong `tag`; `None` is all.

    All is also the answer to several ranges, to other units and to what is no range (RFC 9110, 14.2), and to an
    `if_range` that names something else; a date is something else, since we give none out. Raises `RangeOutside`.
    """
    match = RANGE_PATTERN.fullmatch(range_header or "")
    if match is None or (if_range is not None and if_range.strip() != f'"{etag}"'):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeOutside(size=size)
    return start, end
