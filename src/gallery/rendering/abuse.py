"""Limits for valid structures that cost a decoder too much time when a file repeats them.

An empty scan of a progressive JPEG takes 80 bytes in the file, and libjpeg walks over all pixels for it. For each frame
of an animated WebP, libwebp counts again from the first frame.
"""

import re
from collections.abc import Iterator

from gallery.errors import TooManyScans

MAX_SCANS = 100  # encoders write a dozen
SOS, EOI = b"\xff\xda", b"\xff\xd9"
MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither a stuffed byte nor a restart
SOI_CODE, EOI_CODE, SOS_CODE = 0xD8, 0xD9, 0xDA


def check_scans(jpeg: bytes) -> None:
    """Raises `TooManyScans` when the first picture in `jpeg` has more than `MAX_SCANS` scans."""
    if jpeg.count(SOS) > MAX_SCANS and _count_scans(jpeg) > MAX_SCANS:  # the cheap half is nearly always enough
        raise TooManyScans(limit=MAX_SCANS)


def has_eoi(jpeg: bytes) -> bool:
    """Whether the first picture in `jpeg` has its end marker, or ends in zeroes as half-written files do."""
    if jpeg.rfind(EOI) > jpeg.rfind(SOS) or jpeg.endswith(b"\0\0"):
        return True  # the usual case
    return any(code == EOI_CODE for code in _markers(jpeg))


def keep_first_frame(webp: bytes) -> bytes:
    """Returns an animated `webp` without the frames behind the first, and any other WebP unchanged.

    A chunk that is longer than the file is kept, so that the decoder reports it.
    """
    frames = [chunk for name, chunk in _chunks(webp) if name == b"ANMF"]
    if len(frames) < 2:
        return webp
    edges = [0, *(edge for frame in frames[1:] for edge in (frame.start, frame.stop)), len(webp)]
    short = b"".join(webp[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    size = int.from_bytes(webp[4:8], "little") - (len(webp) - len(short))
    return webp[:4] + max(0, size).to_bytes(4, "little") + short[8:]


def _count_scans(jpeg: bytes) -> int:
    """The number of scans in the first picture; stops counting above `MAX_SCANS`."""
    scans = 0
    for code in _markers(jpeg):
        scans += code == SOS_CODE
        if code == EOI_CODE or scans > MAX_SCANS:
            break
    return scans


def _markers(jpeg: bytes) -> Iterator[int]:
    """The codes of all markers behind the first, without looking inside their segments."""
    at = 2
    while marker := MARKER.search(jpeg, at):
        code, at = marker[1][0], marker.end()
        yield code
        if code not in (SOI_CODE, EOI_CODE, 0x01):
            at += int.from_bytes(jpeg[at : at + 2])


def _chunks(webp: bytes) -> Iterator[tuple[bytes, slice]]:
    """The name and the extent of each complete chunk."""
    at = 12
    while at + 8 <= len(webp):
        end = at + 8 + int.from_bytes(webp[at + 4 : at + 8], "little")
        end += end % 2
        if end > len(webp):
            return
        yield webp[at : at + 4], slice(at, end)
        at = end
