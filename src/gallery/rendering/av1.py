"""The colours in an AV1 sequence header. Format: https://aomediacodec.github.io/av1-spec/, 5.3 to 5.5."""

from dataclasses import dataclass

SEQUENCE_HEADER = 1
UNSPECIFIED = 2
MAX_UNITS = 4  # before it stands a temporal delimiter at most
MAX_OPERATING_POINTS = 32


@dataclass(frozen=True)
class Coding:
    """Code points of H.273, and whether black is 0; else it is 16 of 255."""

    primaries: int
    transfer: int
    full_range: bool


class _Bits:
    """Reads unsigned numbers from the left. Raises `EOFError` at the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1

    def variable(self) -> None:
        """Past a number of variable length (uvlc)."""
        zeroes = 0
        while not self.take(1):
            zeroes += 1
        self.take(min(zeroes, 32))


def coding(data: bytes) -> Coding | None:
    """By the first sequence header in the beginning of a coded picture; None where there is none that can be read."""
    at = 0
    try:
        for _ in range(MAX_UNITS):
            head = data[at]
            at += 2 if head & 4 else 1  # an extension follows
            size, at = _size(data, at) if head & 2 else (len(data) - at, at)
            if head >> 3 & 15 == SEQUENCE_HEADER:
                return _sequence(_Bits(data[at : at + size]))
            at += size
    except (EOFError, IndexError):
        return None
    return None


def _size(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to eight bytes of seven bits (leb128), and where it ends."""
    size = 0
    for index in range(8):
        byte = data[at + index]
        size |= (byte & 127) << 7 * index
        if byte < 128:
            return size, at + index + 1
    raise EOFError


def _sequence(bits: _Bits) -> Coding:
    profile, _still, reduced = bits.take(3), bits.take(1), bits.take(1)
    if reduced:
        bits.take(5)  # level
    else:
        _timing_and_points(bits)
    width, height = bits.take(4) + 1, bits.take(4) + 1
    bits.take(width + height)
    if not reduced and bits.take(1):
        bits.take(7)  # lengths of frame ids
    bits.take(3)  # superblocks of 128, filters of intra prediction
    if not reduced:
        _tools(bits)
    bits.take(3)  # super-resolution, CDEF, restoration
    return _colors(bits, profile)


def _timing_and_points(bits: _Bits) -> None:
    model = delay = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.variable()
        model = bits.take(1)
        if model:
            delay = bits.take(5) + 1
            bits.take(42)
    display_delay = bits.take(1)
    for _ in range(min(bits.take(5) + 1, MAX_OPERATING_POINTS)):
        bits.take(12)
        if bits.take(5) > 7:  # level
            bits.take(1)
        if model and bits.take(1):
            bits.take(2 * delay + 1)
        if display_delay and bits.take(1):
            bits.take(4)


def _tools(bits: _Bits) -> None:
    bits.take(4)  # inter-intra, masks, warps, dual filter
    order_hint = bits.take(1)
    if order_hint:
        bits.take(2)
    screen_content = 2 if bits.take(1) else bits.take(1)
    if screen_content and not bits.take(1):
        bits.take(1)  # integer vectors
    if order_hint:
        bits.take(3)


def _colors(bits: _Bits, profile: int) -> Coding:
    if bits.take(1) and profile == 2:
        bits.take(1)  # twelve bits
    gray = profile != 1 and bits.take(1) == 1
    told = bits.take(1)
    primaries, transfer, matrix = (bits.take(8) for _ in range(3)) if told else (UNSPECIFIED,) * 3
    if not gray and (primaries, transfer, matrix) == (1, 13, 0):
        return Coding(primaries, transfer, full_range=True)  # sRGB as it is, without a bit for it
    return Coding(primaries, transfer, full_range=bits.take(1) == 1)
