"""Reads the colour information of the main picture in an AVIF or HEIC.

Format: items and their properties of ISO/IEC 14496-12 and 23008-12; `clli` and `mdcv` as in 14496-12, 12.1.6.
"""

from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from gallery.rendering import av1, isobmff
from gallery.rendering.color_space import ColorInfo, ColorSpace, from_code_points

UNITS_PER_NIT = 10_000  # of mdcv
CODED_HEADER_BYTES = 256  # of a coded picture; they include its sequence header
PROFILE_TYPES = (b"prof", b"rICC")
AV1C_MONOCHROME = (2, 0x10)  # the byte of av1C, and its bit


Properties: TypeAlias = list[tuple[bytes, bytes]]


def read(file: BinaryIO) -> ColorInfo:
    """The colour information of `file`; unreadable parts are left out."""
    meta = isobmff.read_meta(file)
    main = int.from_bytes(isobmff.child_box(meta, b"pitm")[4:])
    references = list(_references(isobmff.child_box(meta, b"iref")))
    tile = next((first for kind, item, first in references if kind == b"dimg" and item == main), main)
    properties = _properties(meta, main) + (_properties(meta, tile) if tile != main else [])
    coding = _nclx(properties) or av1.find_color_coding(_read_coded_picture(file, meta, tile))
    return ColorInfo(
        space=None if coding is None or _has_profile(properties) else _space(coding, properties),
        premultiplied=any(kind == b"prem" and item == main for kind, item, _ in references),
        limited_gray=coding is not None and not coding.full_range and _is_gray(properties),
    )


def _space(coding: av1.ColorCoding, properties: Properties) -> ColorSpace | None:
    space = from_code_points(coding.primaries, coding.transfer)
    return space.with_peak(_peak(properties)) if space else None


def _peak(properties: Properties) -> float:
    """In nits, of the content itself or of the screen it was made on; 0 when the file gives neither."""
    by_type = dict(properties)
    content, screen = by_type.get(b"clli", b""), by_type.get(b"mdcv", b"")
    return int.from_bytes(content[:2]) or int.from_bytes(screen[16:20]) / UNITS_PER_NIT


def _colr(properties: Properties) -> list[bytes]:
    return [payload for kind, payload in properties if kind == b"colr"]


def _has_profile(properties: Properties) -> bool:
    return any(payload[:4] in PROFILE_TYPES for payload in _colr(properties))


def _nclx(properties: Properties) -> av1.ColorCoding | None:
    payload = next((payload for payload in _colr(properties) if payload[:4] == b"nclx" and len(payload) == 11), None)
    if payload is None:
        return None
    return av1.ColorCoding(int.from_bytes(payload[4:6]), int.from_bytes(payload[6:8]), full_range=payload[10] >= 128)


def _is_gray(properties: Properties) -> bool:
    """Whether AV1's configuration says monochrome. HEVC's is not needed: libheif expands the range there."""
    configuration = dict(properties).get(b"av1C", b"")
    return len(configuration) > AV1C_MONOCHROME[0] and configuration[AV1C_MONOCHROME[0]] & AV1C_MONOCHROME[1] > 0


# --- the boxes ----------------------------------------------------------------------------------------------------


def _references(iref: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The type of each reference, with the item it starts from and the first item it leads to."""
    width = 4 if iref[:1] == b"\x01" else 2  # bytes of an item's number
    for kind, payload in isobmff.child_boxes(iref[4:]):
        yield kind, int.from_bytes(payload[:width]), int.from_bytes(payload[width + 2 : 2 * width + 2])


def _properties(meta: bytes, item: int) -> Properties:
    iprp = isobmff.child_box(meta, b"iprp")
    all_properties = list(isobmff.child_boxes(isobmff.child_box(iprp, b"ipco")))
    associations = (index for owner, index in _associations(isobmff.child_box(iprp, b"ipma")) if owner == item)
    return [all_properties[index - 1] for index in associations if 0 < index <= len(all_properties)]


def _associations(ipma: bytes) -> Iterator[tuple[int, int]]:
    """Pairs of an item and the number of one of its properties, which count from 1."""
    width, long_index = (4 if ipma[:1] == b"\x01" else 2), ipma[3:4] == b"\x01"
    at = 8
    while at < len(ipma):
        item, count = int.from_bytes(ipma[at : at + width]), ipma[at + width : at + width + 1]
        at += width + 1
        for _ in range(int.from_bytes(count)):
            index = ipma[at : at + 1 + long_index]
            yield item, int.from_bytes(index) & (0x7FFF if long_index else 0x7F)
            at += 1 + long_index


def _read_coded_picture(file: BinaryIO, meta: bytes, item: int) -> bytes:
    """The beginning of an item's coded picture; empty if it does not lie in the file itself."""
    for number, start in _locations(isobmff.child_box(meta, b"iloc")):
        if number == item:
            file.seek(start)
            return file.read(CODED_HEADER_BYTES)
    return b""


def _locations(iloc: bytes) -> Iterator[tuple[int, int]]:
    """Items whose bytes lie in the file, with the position of their first extent."""
    version = iloc[0] if iloc else 0
    widths = [half for byte in iloc[4:6] for half in (byte >> 4, byte & 15)]
    if len(widths) < 4:
        return
    offset_width, length_width, base_width, index_width = widths
    if version == 0:
        index_width = 0
    number_width = 4 if version == 2 else 2
    at = 6 + number_width
    while at < len(iloc):
        number = int.from_bytes(iloc[at : at + number_width])
        at += number_width
        method = 0
        if version:
            method = iloc[at + 1] & 15 if at + 1 < len(iloc) else 0
            at += 2
        at += 2  # the data reference: this file
        base = int.from_bytes(iloc[at : at + base_width])
        at += base_width
        extents = int.from_bytes(iloc[at : at + 2])
        at += 2
        if extents and method == 0:
            yield number, base + int.from_bytes(iloc[at + index_width : at + index_width + offset_width])
        at += extents * (index_width + offset_width + length_width)
