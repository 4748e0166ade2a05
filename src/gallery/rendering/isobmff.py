"""Reads the headers of AVIF and HEIC files: the boxes of ISO 14496-12 and 23008-12, in plain Python.

Only the top level is walked by seeking. The `meta` box is read at once, up to a limit, and walked in memory. Every box
is at least 8 bytes long, so every loop ends.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

from gallery.errors import NotAPicture
from gallery.rendering import memory
from gallery.rendering.file_headers import Header, read_exactly

MAX_TOP_BOXES = 64
MAX_BOXES = 4_096  # in one container; a 50 MP grid of 512 px tiles has 200 items
MAX_FTYP_BYTES = 1_024
MAX_META_BYTES = 1 << 20

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx"})
GENERIC_BRANDS = frozenset({b"mif1", b"msf1"})  # of any codec
CODECS = {b"av01": "avif", b"hvc1": "heic", b"hev1": "heic"}
ALPHA_URN_SUFFIXES = (b":auxiliary:alpha", b":auxid:1\0")  # of an alpha plane


def read_header(file: BinaryIO) -> tuple[str, Header]:
    """`avif` or `heic`, and the header with the sides of the largest image inside. Raises `NotAPicture`."""
    top = _top_level(file)
    if b"ftyp" not in top or b"meta" not in top:
        raise NotAPicture(boxes=len(top))
    brands = _brands(_payload(file, top[b"ftyp"], MAX_FTYP_BYTES))
    if not brands & (AVIF_BRANDS | HEIC_BRANDS | GENERIC_BRANDS):
        raise NotAPicture(brands=b" ".join(sorted(brands)).hex())
    boxes = _payload(file, top[b"meta"], MAX_META_BYTES)[4:]
    codec, properties = _codec(brands, boxes), child_box(child_box(boxes, b"iprp"), b"ipco")
    width, height = _largest_size(properties)
    return codec, Header(width, height, _bytes_per_pixel(codec, properties), animated=b"moov" in top)


def read_meta(file: BinaryIO) -> bytes:
    """The content of the `meta` box, or b""."""
    top = _top_level(file)
    return _payload(file, top[b"meta"], MAX_META_BYTES)[4:] if b"meta" in top else b""


# --- the file's own level ---------------------------------------------------------------------------------------


def _top_level(file: BinaryIO) -> dict[bytes, tuple[int, int]]:
    """The extent of the payload of each type of box; the first box of a type counts."""
    found: dict[bytes, tuple[int, int]] = {}
    position, length = 0, file.seek(0, os.SEEK_END)
    for _ in range(MAX_TOP_BOXES):
        if position >= length:
            break
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            break
        size, name, skip = int.from_bytes(head[:4]), head[4:8], 8
        if size == 1:
            size, skip = int.from_bytes(head[8:16]), 16
        if size == 0:
            size = length - position  # to the end of the file
        if size < skip:
            break
        found.setdefault(name, (position + skip, position + size))
        position += size
    return found


def _payload(file: BinaryIO, extent: tuple[int, int], limit: int) -> bytes:
    start, end = extent
    if end - start > limit:
        raise NotAPicture(box_size=end - start, limit=limit)
    file.seek(start)
    return read_exactly(file, end - start)


def _brands(ftyp: bytes) -> set[bytes]:
    """The major brand and the compatible ones; between them is a version."""
    return {ftyp[:4], *(ftyp[at : at + 4] for at in range(8, len(ftyp), 4))}


# --- inside of meta -----------------------------------------------------------------------------------------------


def child_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The names and the payloads of consecutive boxes."""
    at = 0
    for _ in range(MAX_BOXES):
        size = int.from_bytes(data[at : at + 4])
        if size < 8 or at + size > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def child_box(data: bytes, name: bytes) -> bytes:
    """The payload of the first box of this name, or b""."""
    return next((payload for kind, payload in child_boxes(data) if kind == name), b"")


def _largest_size(properties: bytes) -> tuple[int, int]:
    """The sides of the largest `ispe`: a grid's own are larger than those of its tiles, a thumbnail's are smaller."""
    sizes = [
        (int.from_bytes(ispe[4:8]), int.from_bytes(ispe[8:12]))
        for kind, ispe in child_boxes(properties)
        if kind == b"ispe" and len(ispe) == 12
    ]
    if not sizes:
        raise NotAPicture(no="ispe")
    return max(sizes, key=lambda sides: sides[0] * sides[1])


def _bytes_per_pixel(codec: str, properties: bytes) -> float:
    """The memory of rendering in the worst case: by the highest bit depth and chroma resolution inside."""
    high_bit_depth = full_chroma = alpha = False
    for kind, payload in child_boxes(properties):
        if kind == b"av1C" and len(payload) > 2:
            high_bit_depth, full_chroma = (
                high_bit_depth or bool(payload[2] & 0x40),
                full_chroma or not payload[2] & 0x04,
            )  # high_bitdepth, subsampling_y
        elif kind == b"hvcC" and len(payload) > 17:
            high_bit_depth, full_chroma = (
                high_bit_depth or bool(payload[17] & 7),
                full_chroma or payload[16] & 3 > 1,
            )  # bit_depth_luma, chroma_format_idc
        elif kind == b"auxC":
            alpha = alpha or any(urn in payload for urn in ALPHA_URN_SUFFIXES)
    cost = memory.avif if codec == "avif" else memory.heic
    return cost(high_bit_depth=high_bit_depth, full_chroma=full_chroma, alpha=alpha)


def _codec(brands: set[bytes], meta: bytes) -> str:
    """The codec of the items, as the decoder sees it; of the brands if the items have none or several."""
    codecs = {CODECS[kind] for kind in _item_types(child_box(meta, b"iinf")) if kind in CODECS}
    if len(codecs) == 1:
        return codecs.pop()
    if brands & AVIF_BRANDS:
        return "avif"
    if brands & HEIC_BRANDS:
        return "heic"
    raise NotAPicture(codecs=len(codecs))


def _item_types(iinf: bytes) -> Iterator[bytes]:
    count_size = 2 if iinf[:1] == b"\x00" else 4
    for kind, infe in child_boxes(iinf[4 + count_size :]):
        if kind == b"infe" and infe[:1] in {b"\x02", b"\x03"}:
            at = 8 if infe[:1] == b"\x02" else 10  # version and flags, item id of 2 or 4 bytes, protection index
            yield infe[at : at + 4]
