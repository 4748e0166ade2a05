"""Reads the headers of JPEG, PNG, GIF and WebP in plain Python.

Each reader takes a seekable file with the right magic number, and raises `NotAPicture` when it does not find the
picture's sides.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gallery.errors import NotAPicture
from gallery.rendering import memory

MAX_SEGMENTS = 1_000  # a JPEG with 10 MB of extended XMP has 160 before its frame
MAX_CHUNKS = 1_000
GIF_WINDOW_BYTES = 1 << 20  # searched for a second image

MARKER = re.compile(rb"\xff([^\x00\xff])")  # after any number of fill bytes
MARKER_WINDOW_BYTES = (64, 4_096, 1 << 20)  # searched for the next one: some phones write 24,000 stray bytes
STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC
PROGRESSIVE_FRAME_MARKERS = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
EOI, SOS = 0xD9, 0xDA
END_OF_HEADER_MARKERS = frozenset({EOI, SOS})


@dataclass(frozen=True)
class Header:
    """Sides in pixels, and the bytes that rendering needs for each pixel."""

    width: int
    height: int
    bytes_per_pixel: float
    animated: bool = False


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """Returns exactly `count` bytes. Raises `NotAPicture` when the file has fewer."""
    data = file.read(count)
    if len(data) < count:
        raise NotAPicture(ends_at=file.tell(), wanted=count)
    return data


# --- JPEG: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B ------------------------------------------------


def jpeg(file: BinaryIO) -> Header:
    frame = b""
    for code, position in _markers(file):
        file.seek(position)
        if code in FRAME_MARKERS and not frame:
            frame = bytes([code]) + read_exactly(file, 8)  # length, precision, height, width, components
            frame += file.read(3 * frame[8])
        if code == SOS and frame:
            return _jpeg_header(frame, file.read(3)[2:])
    if frame:
        return _jpeg_header(frame, b"")
    raise NotAPicture(format="jpeg", no="frame")


def _markers(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """The code of each marker of the header, and the position of its segment."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker = _next_marker(file, position)
        if marker is None:
            return
        code, position = marker
        if code not in STANDALONE_MARKERS:
            yield code, position
            if code in END_OF_HEADER_MARKERS:
                return
            file.seek(position)
            position += int.from_bytes(file.read(2))


def _jpeg_header(frame: bytes, first_scan_components: bytes) -> Header:
    """`frame` begins with its marker's code; the second argument is the number of components in the first scan."""
    factors = [(each >> 4) * (each & 15) for each in frame[10::3]]
    samples = sum(factors) / max(factors, default=1) if all(factors) else len(factors)
    multi_scan = frame[0] in PROGRESSIVE_FRAME_MARKERS or first_scan_components != frame[8:9]
    per_pixel = memory.jpeg(samples, multi_scan=multi_scan)
    return Header(int.from_bytes(frame[6:8]), int.from_bytes(frame[4:6]), per_pixel)


def _next_marker(file: BinaryIO, position: int) -> tuple[int, int] | None:
    """The marker's code and the position behind it. Skips fill bytes (B.1.1.2) and stray bytes, as decoders do."""
    for window in MARKER_WINDOW_BYTES:
        file.seek(position)
        if marker := MARKER.search(file.read(window)):
            return marker[1][0], position + marker.end()
    return None


# --- PNG: https://www.w3.org/TR/png-3/ --------------------------------------------------------------------------

MAX_CHANNELS_BY_PNG_COLOR_TYPE = {0: 2, 2: 4, 3: 4, 4: 2, 6: 4}  # with the alpha that a tRNS chunk or a palette may add


def png(file: BinaryIO) -> Header:
    file.seek(8)
    start = read_exactly(file, 21)  # length, IHDR, width, height, depth, colour type, compression, filter, interlace
    if start[:8] != b"\x00\x00\x00\x0dIHDR":
        raise NotAPicture(format="png", first_chunk=start[4:8].hex())
    pixel_bytes = MAX_CHANNELS_BY_PNG_COLOR_TYPE.get(start[17], 4) * (2 if start[16] == 16 else 1)
    per_pixel = memory.png(pixel_bytes, interlaced=bool(start[20]))
    return Header(int.from_bytes(start[8:12]), int.from_bytes(start[12:16]), per_pixel, _is_apng(file))


def _is_apng(file: BinaryIO) -> bool:
    position = 8 + 12 + 13  # the signature and IHDR
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8 or chunk[4:] == b"IDAT":
            break
        if chunk[4:] == b"acTL":
            return True
        position += 12 + int.from_bytes(chunk[:4])
    return False


# --- GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt --------------------------------------------------------


@dataclass(frozen=True)
class GifCanvas:
    """The canvas of a GIF as in browsers, and the position of the first frame on it; all in pixels.

    The canvas is the logical screen, enlarged when the first frame does not fit.
    """

    width: int
    height: int
    left: int
    top: int
    frame_width: int
    frame_height: int

    @property
    def is_covered(self) -> bool:
        """Whether the first frame covers the whole canvas."""
        return (self.frame_width, self.frame_height) == (self.width, self.height)


def gif(file: BinaryIO) -> Header:
    screen, blocks = _gif_screen(file)
    canvas, tables = _gif_canvas(screen, blocks), _color_table_bytes(screen[4])
    return Header(canvas.width, canvas.height, memory.GIF_BYTES_PER_PIXEL, _has_second_image(blocks, tables))


def gif_canvas(file: BinaryIO) -> GifCanvas:
    return _gif_canvas(*_gif_screen(file))


def _gif_screen(file: BinaryIO) -> tuple[bytes, bytes]:
    """The logical screen descriptor, and the bytes behind it within the window."""
    file.seek(6)
    return read_exactly(file, 7), file.read(GIF_WINDOW_BYTES)


def _gif_canvas(screen: bytes, blocks: bytes) -> GifCanvas:
    width, height = int.from_bytes(screen[:2], "little"), int.from_bytes(screen[2:4], "little")
    at = _image_descriptor(blocks, _color_table_bytes(screen[4]))
    if at is None:
        return GifCanvas(width, height, 0, 0, width, height)
    left, top, wide, high = (int.from_bytes(blocks[i : i + 2], "little") for i in range(at, at + 8, 2))
    return GifCanvas(max(width, left + wide), max(height, top + high), left, top, wide, high)


def _image_descriptor(blocks: bytes, at: int) -> int | None:
    """The position behind the separator of the first image, or None."""
    while at < len(blocks) and blocks[at] == 0x21:
        at = _after_sub_blocks(blocks, at + 2)
    return at + 1 if blocks[at : at + 1] == b"\x2c" and at + 10 <= len(blocks) else None


def _color_table_bytes(flags: int) -> int:
    """The size of the color table that `flags` announce, in bytes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _has_second_image(blocks: bytes, at: int) -> bool:
    """Walks the blocks from `at`. If the first image does not end in them, the loop extension decides."""
    images = 0
    while at < len(blocks):
        kind = blocks[at]
        if kind == 0x2C:
            images += 1
            at += 11 + _color_table_bytes(int.from_bytes(blocks[at + 9 : at + 10]))
        elif kind == 0x21:
            at += 2
        else:
            return False
        if images == 2:
            return True
        at = _after_sub_blocks(blocks, at)
    return b"NETSCAPE2.0" in blocks


def _after_sub_blocks(blocks: bytes, at: int) -> int:
    while at < len(blocks) and blocks[at]:
        at += 1 + blocks[at]
    return at + 1


# --- WebP: https://developers.google.com/speed/webp/docs/riff_container -------------------------------------------


def webp(file: BinaryIO) -> Header:
    file.seek(4)
    start = read_exactly(file, 26)  # RIFF size, WEBP, first chunk's name and size, 10 bytes of it
    size, chunk, body = int.from_bytes(start[:4], "little"), start[8:12], start[16:]
    if size < 22:  # less than the bytes just read
        raise NotAPicture(format="webp", riff_size=size)
    if chunk == b"VP8X":
        per_pixel = memory.ALPHA_WEBP_BYTES_PER_PIXEL if body[0] & 0x12 else memory.WEBP_BYTES_PER_PIXEL
        return Header(_plus_one(body[4:7], 24), _plus_one(body[7:10], 24), per_pixel, animated=bool(body[0] & 0x02))
    if chunk == b"VP8L" and body[0] == 0x2F:
        packed = int.from_bytes(body[1:5], "little")
        return Header((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, memory.WEBP_BYTES_PER_PIXEL)
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        sides = int.from_bytes(body[6:10], "little")
        return Header(sides & 0x3FFF, sides >> 16 & 0x3FFF, memory.WEBP_BYTES_PER_PIXEL)
    raise NotAPicture(format="webp", first_chunk=chunk.hex())


def _plus_one(field: bytes, bits: int) -> int:
    return (int.from_bytes(field, "little") & ((1 << bits) - 1)) + 1
