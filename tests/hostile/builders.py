"""Builds files without an encoder: chunks, segments, boxes, and endless zeros in few bytes."""

import random
import struct
import zlib
from collections.abc import Iterator

MARKER = b"MARKER-7f3a91"  # in every place of a file for text: no rendition may have it
MIB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n"


# --- any file -----------------------------------------------------------------------------------------------------


def cuts(file: bytes, times: int) -> Iterator[tuple[int, bytes]]:
    """The file as it is when it ends too soon: `times` lengths from almost nothing to all but one byte."""
    for number in range(times):
        length = 13 + (len(file) - 14) * number // (times - 1)
        yield length, file[:length]


def flips(file: bytes, times: int, seed: int, bits: int = 3) -> Iterator[bytes]:
    """The file with a few bits flipped, half of the times near its head."""
    rng = random.Random(seed)
    for number in range(times):
        changed = bytearray(file)
        for _ in range(bits):
            changed[rng.randrange(12, min(len(file), 400) if number % 2 else len(file))] ^= 1 << rng.randrange(8)
        yield bytes(changed)


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


# --- JPEG ---------------------------------------------------------------------------------------------------------

DQT = b"\xff\xdb\x00\x43\x00" + b"\x01" * 64
ONE_CODE = bytes([1] + [0] * 15)  # a Huffman table with one code: a single zero bit


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def huffman(table_id: int, symbol: int) -> bytes:
    return segment(0xC4, bytes([table_id]) + ONE_CODE + bytes([symbol]))


def frame(width: int, height: int, *, sof: int = 0xC0, precision: int = 8, components: int = 1) -> bytes:
    parts = b"".join(bytes([number, 0x11, 0]) for number in range(1, components + 1))
    return segment(sof, struct.pack(">BHHB", precision, height, width, components) + parts)


def scan(first: int, last: int, bits: int, components: int = 1) -> bytes:
    """A scan of `bits` zero bits."""
    parts = b"".join(bytes([number, 0]) for number in range(1, components + 1))
    return segment(0xDA, bytes([components]) + parts + bytes([first, last, 0])) + bytes(-(-bits // 8))


def blocks(width: int, height: int) -> int:
    return -(-width // 8) * -(-height // 8)


def flat_jpeg(width: int, height: int, *, components: int = 1, more: bytes = b"", **header: int) -> bytes:
    """Mid-gray, two bits for each block: 49 megapixels in 200 kB."""
    tables = DQT + more + frame(width, height, components=components, **header) + huffman(0x00, 0) + huffman(0x10, 0)
    pixels = scan(0, 63, 2 * components * blocks(width, height), components)
    return b"\xff\xd8" + tables + pixels + b"\xff\xd9"


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG with more scans, each empty for every block and a few bytes long."""
    count = blocks(width, height)
    start = DQT + frame(width, height, sof=0xC2) + huffman(0x00, 0) + huffman(0x10, 0xE0)
    nothing = scan(1, 63, 15 * -(-count // (1 << 14)))  # runs of 2**14 blocks without coefficients
    return b"\xff\xd8" + start + scan(0, 0, count) + nothing * (scans - 1) + b"\xff\xd9"


def into_jpeg(file: bytes, *segments: bytes) -> bytes:
    return file[:2] + b"".join(segments) + file[2:]


# --- PNG ------------------------------------------------------------------------------------------------------------

BITS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples of a pixel, by colour type
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(name: bytes, body: bytes = b"", *, length: int | None = None, crc: int | None = None) -> bytes:
    check = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body) if length is None else length) + name + body + struct.pack(">I", check)


def zeros(count: int) -> bytes:
    """`count` zero bytes as a zlib stream, made of one compressed mebibyte again and again."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeeze.compress(bytes(MIB)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = rest.compress(bytes(count % MIB)) + rest.flush()
    return b"\x78\xda" + block * (count // MIB) + end + struct.pack(">HH", count % 65521, 1)


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def raw_size(width: int, height: int, depth: int, colour: int, interlace: int) -> int:
    bits = depth * BITS[colour]
    passes = ADAM7 if interlace else [(0, 0, 1, 1)]
    sides = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes if x < width and y < height]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sides)


def flat_png(
    width: int,
    height: int,
    depth: int = 8,
    colour: int = 2,
    interlace: int = 0,
    *,
    more: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """All zeros, in a thousandth of their size."""
    pixels = zeros(raw_size(width, height, depth, colour, interlace))
    start = PNG + header(width, height, depth, colour, interlace) + more
    return start + chunk(b"IDAT", pixels) + tail + chunk(b"IEND")


def into_png(file: bytes, *chunks: bytes) -> bytes:
    return file[:33] + b"".join(chunks) + file[33:]


# --- GIF ------------------------------------------------------------------------------------------------------------


def lzw(pixels: int) -> bytes:
    """So many pixels of colour 0: after 4,000 codes each 12 bits are another 4,091 pixels."""
    bits, at, width, free = 4, 3, 3, 6  # begins with "clear"
    longest = 1
    codes = iter(range(6, 4096))
    code = 0
    while pixels > 0:
        if longest > pixels:
            code = 0 if pixels == 1 else pixels + 4
        bits |= code << at
        at += width
        pixels -= min(longest, pixels)
        if code != 0 or free > 6:
            free = min(free + 1, 4096)
        if free == 1 << width and width < 12:
            width += 1
        code = next(codes, 4095)
        longest = code - 4
    bits |= 5 << at
    data = bits.to_bytes((at + width + 7) // 8, "little")
    return b"\x02" + sub_blocks(data)


def sub_blocks(data: bytes) -> bytes:
    return b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)) + b"\0"


def gif_frame(width: int, height: int, *, left: int = 0, top: int = 0, data: bytes | None = None) -> bytes:
    rectangle = struct.pack("<HHHHB", left, top, width, height, 0)
    return b"\x2c" + rectangle + (lzw(width * height) if data is None else data)


def gif(width: int, height: int, *parts: bytes, flags: int = 0x91) -> bytes:
    table = bytes(range(0, 240, 20)) if flags & 0x80 else b""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, flags, 0, 0) + table + b"".join(parts) + b"\x3b"


# --- WebP -----------------------------------------------------------------------------------------------------------


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def part(name: bytes, body: bytes, *, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if length is None else length) + body + bytes(len(body) % 2)


def uint24(number: int) -> bytes:
    return number.to_bytes(4, "little")[:3]


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    return part(b"VP8X", bytes([flags, 0, 0, 0]) + uint24(width - 1) + uint24(height - 1))


def lossless(width: int, height: int) -> bytes:
    """Every Huffman code has one symbol, so that a pixel takes no bits at all."""
    bits = (width - 1) | (height - 1) << 14
    codes = sum(1 << (35 + 4 * number) for number in range(5))  # simple, one symbol, of one bit, 0
    return part(b"VP8L", b"\x2f" + (bits | codes).to_bytes(12, "little"))


def webp_frame(width: int, height: int, left: int = 0, top: int = 0) -> bytes:
    rectangle = uint24(left // 2) + uint24(top // 2) + uint24(width - 1) + uint24(height - 1) + uint24(100) + b"\0"
    return part(b"ANMF", rectangle + lossless(width, height))


# --- boxes ----------------------------------------------------------------------------------------------------------


def box(name: bytes, body: bytes = b"", *, size: int | None = None) -> bytes:
    return struct.pack(">I", len(body) + 8 if size is None else size) + name + body


def ftyp(*brands: bytes) -> bytes:
    return box(b"ftyp", brands[0] + bytes(4) + b"".join(brands))
