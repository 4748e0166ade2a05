"""Reads the colour space from a PNG's chunks. Format: https://www.w3.org/TR/png-3/, 11.3.2."""

from collections.abc import Iterator
from typing import BinaryIO

from gallery.rendering.color_space import BT709, BT1886, SRGB, ColorInfo, ColorSpace, Curve, Primaries, from_code_points

MAX_CHUNKS = 1_000
MAX_PAYLOAD_BYTES = 32  # of the chunks that are read
FIXED_POINT_SCALE = 100_000  # of gAMA and cHRM
UNITS_PER_NIT = 10_000  # of cLLI and mDCV
SRGB_GAMMA = 45_455  # gAMA without cHRM: every writer of sRGB pictures writes it


def read(file: BinaryIO) -> ColorInfo:
    """The colour space by the cICP chunk, else by an ICC profile (None), else by gAMA and cHRM."""
    return ColorInfo(_space(dict(_chunks(file))))


def _space(chunks: dict[bytes, bytes]) -> ColorSpace | None:
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) == 4 and cicp[2] == 0 and (space := from_code_points(cicp[0], cicp[1], video_transfer=BT1886)):
        return space.with_peak(_peak(chunks))
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return None
    return _space_of_gamma(chunks)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Names and the beginnings of the payloads, up to the pixels."""
    position = 8
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8 + MAX_PAYLOAD_BYTES)
        length, name = int.from_bytes(chunk[:4]), chunk[4:8]
        if len(name) < 4 or name == b"IDAT":
            return
        yield name, chunk[8 : 8 + min(length, MAX_PAYLOAD_BYTES)]
        position += 12 + length


def _peak(chunks: dict[bytes, bytes]) -> float:
    """In nits, of the content itself or of the screen it was made on; 0 when the file gives neither."""
    content, screen = chunks.get(b"cLLI", b""), chunks.get(b"mDCV", b"")
    return (int.from_bytes(content[:4]) or int.from_bytes(screen[16:20])) / UNITS_PER_NIT


def _space_of_gamma(chunks: dict[bytes, bytes]) -> ColorSpace | None:
    gamma = int.from_bytes(chunks.get(b"gAMA", b""))
    if not gamma:
        return None
    if b"cHRM" not in chunks:
        return ColorSpace(BT709, SRGB if gamma == SRGB_GAMMA else Curve(FIXED_POINT_SCALE / gamma))
    primaries = _primaries(chunks[b"cHRM"])
    return ColorSpace(primaries, Curve(FIXED_POINT_SCALE / gamma)) if primaries else None


def _primaries(chrm: bytes) -> Primaries | None:
    """None when the corners span no triangle, or the white is impossible."""
    values = [int.from_bytes(chrm[at : at + 4]) / FIXED_POINT_SCALE for at in range(0, 32, 4)]
    white, red, green, blue = zip(values[::2], values[1::2], strict=True)
    area = (green[0] - red[0]) * (blue[1] - red[1]) - (blue[0] - red[0]) * (green[1] - red[1])
    if max(values) > 1 or not white[1] or abs(area) < 1e-3:
        return None
    return Primaries(red, green, blue, white)
