"""The colours in an AV1 sequence header. Format: https://aomediacodec.github.io/av1-spec/, 5.3 to 5.5."""

from dataclasses import dataclass

SEQUENCE_HEADER = 1
UNSPECIFIED = 2
MAX_OBUS = 4  # before it stands a temporal delimiter at most
MAX_OPERATING_POINTS = 32


@dataclass(frozen=True)
class ColorCoding:
    """Code points of H.273. With `full_range` black is 0, otherwise 16 of 255."""

    primaries: int
    transfer: int
    full_range: bool


class _BitReader:
    """Reads unsigned numbers from the left. Raises `EOFError` at the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1

    def skip_uvlc(self) -> None:
        """Skips a number of variable length (uvlc)."""
        zeroes = 0
        while not self.read(1):
            zeroes += 1
        self.read(min(zeroes, 32))


def find_color_coding(data: bytes) -> ColorCoding | None:
    """The colours in the first sequence header of `data`, the start of a coded picture; None if none is readable."""
    at = 0
    try:
        for _ in range(MAX_OBUS):
            head = data[at]
            at += 2 if head & 4 else 1  # an extension follows
            size, at = _read_leb128(data, at) if head & 2 else (len(data) - at, at)
            if head >> 3 & 15 == SEQUENCE_HEADER:
                return _parse_sequence_header(_BitReader(data[at : at + size]))
            at += size
    except (EOFError, IndexError):
        return None
    return None


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """Returns a number of up to eight bytes of seven bits (leb128) and the index behind it."""
    size = 0
    for index in range(8):
        byte = data[at + index]
        size |= (byte & 127) << 7 * index
        if byte < 128:
            return size, at + index + 1
    raise EOFError


def _parse_sequence_header(bits: _BitReader) -> ColorCoding:
    profile, _still, reduced = bits.read(3), bits.read(1), bits.read(1)
    if reduced:
        bits.read(5)  # level
    else:
        _skip_timing_and_operating_points(bits)
    width, height = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width + height)
    if not reduced and bits.read(1):
        bits.read(7)  # lengths of frame ids
    bits.read(3)  # superblocks of 128, filters of intra prediction
    if not reduced:
        _skip_tools(bits)
    bits.read(3)  # super-resolution, CDEF, restoration
    return _parse_color_config(bits, profile)


def _skip_timing_and_operating_points(bits: _BitReader) -> None:
    model = delay = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):
            bits.skip_uvlc()
        model = bits.read(1)
        if model:
            delay = bits.read(5) + 1
            bits.read(42)
    display_delay = bits.read(1)
    for _ in range(min(bits.read(5) + 1, MAX_OPERATING_POINTS)):
        bits.read(12)
        if bits.read(5) > 7:  # level
            bits.read(1)
        if model and bits.read(1):
            bits.read(2 * delay + 1)
        if display_delay and bits.read(1):
            bits.read(4)


def _skip_tools(bits: _BitReader) -> None:
    bits.read(4)  # inter-intra, masks, warps, dual filter
    order_hint = bits.read(1)
    if order_hint:
        bits.read(2)
    screen_content = 2 if bits.read(1) else bits.read(1)
    if screen_content and not bits.read(1):
        bits.read(1)  # integer vectors
    if order_hint:
        bits.read(3)


def _parse_color_config(bits: _BitReader, profile: int) -> ColorCoding:
    if bits.read(1) and profile == 2:
        bits.read(1)  # twelve bits
    gray = profile != 1 and bits.read(1) == 1
    has_description = bits.read(1)
    primaries, transfer, matrix = (bits.read(8) for _ in range(3)) if has_description else (UNSPECIFIED,) * 3
    if not gray and (primaries, transfer, matrix) == (1, 13, 0):
        return ColorCoding(primaries, transfer, full_range=True)  # sRGB has no range bit
    return ColorCoding(primaries, transfer, full_range=bits.read(1) == 1)
