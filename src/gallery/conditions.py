"""Conditional and partial requests (RFC 9110, sections 13 and 14): `If-Match`, `If-None-Match`, `If-Range`, `Range`."""

import re

from gallery.errors import RangeOutside

ETAG_PATTERN = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')
VERSION_PATTERN = re.compile(r"([0-9]{1,9})(?:-|$)")
RANGE_PATTERN = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,30})-([0-9]{0,30})[ \t]*", re.IGNORECASE)


def unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the client's `if_none_match` names the strong tag `etag` (given without quotes)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or any(opaque == etag for _, opaque in ETAG_PATTERN.findall(if_none_match))


def expected_versions(if_match: str | None) -> list[int] | None:
    """The versions that `if_match` allows; `None` allows any. Weak and unknown tags allow none.

    A tag is a version, perhaps with a suffix that names the signature of the answer's URLs: `12` or `12-1764410400-k1`.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    tags = [VERSION_PATTERN.match(opaque) for weak, opaque in ETAG_PATTERN.findall(if_match) if not weak]
    return [int(tag[1]) for tag in tags if tag is not None]


def byte_range(range_header: str | None, if_range: str | None, etag: str, size: int) -> tuple[int, int] | None:
    """The requested range of `size` bytes with the strong tag `etag`: its first byte, and the byte after its last.

    `None` means all bytes: without a range, for several ranges, other units and invalid ranges (RFC 9110, 14.2), and
    for an `if_range` that is not `etag` (also a date, since answers carry no Last-Modified). Raises `RangeOutside`.
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
