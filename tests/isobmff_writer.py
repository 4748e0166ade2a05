"""Adds properties to an AVIF or HEIC that its encoder does not write.

The boxes are those of ISO/IEC 14496-12 and 23008-12; the file is one with a single `meta` before its `mdat`.
"""

import struct
from dataclasses import dataclass, field

CONTAINER_HEADER_BYTES = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # before the inner boxes
ITEM_ID = slice(4, 6)


@dataclass
class Box:
    name: bytes
    body: bytes
    children: "list[Box]" = field(default_factory=list)

    def encode(self) -> bytes:
        payload = self.body + b"".join(box.encode() for box in self.children)
        return struct.pack(">I", 8 + len(payload)) + self.name + payload

    def child(self, name: bytes) -> "Box":
        return next(box for box in self.children if box.name == name)


def nclx(primaries: int, transfer: int, *, matrix: int = 6, full: bool = True) -> bytes:
    return _box(b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, full << 7))


def icc(profile: bytes) -> bytes:
    return _box(b"colr", b"prof" + profile)


def light_level(brightest: int) -> bytes:
    """`clli`, in nits."""
    return _box(b"clli", struct.pack(">HH", brightest, brightest // 4))


def with_property(file: bytes, box: bytes) -> bytes:
    """The file with one more property of its main picture. A `colr` replaces one of its kind."""
    root = Box(b"", b"", _boxes(file))
    meta = root.child(b"meta")
    properties = meta.child(b"iprp").child(b"ipco")
    if box[4:8] == b"colr":
        for child in properties.children:
            if (child.name + child.body)[:8] == box[4:12]:
                child.name = b"free"
    properties.children.append(Box(box[4:8], box[8:]))
    ipma = meta.child(b"iprp").child(b"ipma")
    ipma.body = _associate(ipma.body, meta.child(b"pitm").body[ITEM_ID], len(properties.children))
    _shift_extents(meta.child(b"iloc"), sum(len(child.encode()) for child in root.children) - len(file))
    return b"".join(child.encode() for child in root.children)


def _box(name: bytes, body: bytes) -> bytes:
    return Box(name, body).encode()


def _boxes(data: bytes) -> list[Box]:
    found, at = [], 0
    while at < len(data):
        size, name = int.from_bytes(data[at : at + 4]) or len(data) - at, data[at + 4 : at + 8]
        body = data[at + 8 : at + size]
        own = CONTAINER_HEADER_BYTES.get(name)
        found.append(Box(name, body) if own is None else Box(name, body[:own], _boxes(body[own:])))
        at += size
    return found


def _associate(ipma: bytes, item: bytes, number: int) -> bytes:
    """The `ipma` with one more association, in version 0 with one-byte numbers, as encoders write it."""
    assert ipma[:4] == bytes(4)
    out, at = ipma[:8], 8
    while at < len(ipma):
        count = ipma[at + 2]
        own = ipma[at + 3 : at + 3 + count]
        if ipma[at : at + 2] == item:
            own += bytes([number])
        out += ipma[at : at + 2] + bytes([len(own)]) + own
        at += 3 + count
    return out


def _shift_extents(iloc: Box, distance: int) -> None:
    """Move all extents in the file itself by `distance` bytes."""
    body = bytearray(iloc.body)
    offset_width, length_width, base_width = body[4] >> 4, body[4] & 15, body[5] >> 4
    at = 8
    for _ in range(int.from_bytes(body[6:8])):
        method = int.from_bytes(body[at + 2 : at + 4]) if body[0] else 0
        at += (6 if body[0] else 4) + base_width
        extents, at = int.from_bytes(body[at : at + 2]), at + 2
        for _ in range(extents):
            if method == 0:
                start = int.from_bytes(body[at : at + offset_width]) + distance
                body[at : at + offset_width] = start.to_bytes(offset_width)
            at += offset_width + length_width
    iloc.body = bytes(body)
