"""ThumbHash: a discrete cosine transform of a very small picture, quantised to about 25 bytes.

The channels are the luminance, two colour differences (yellow – blue, red – green) and, where the picture is not
opaque, the alpha. `web/static/thumbhash.js` decodes the result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

MAX_SIDE_PX = 100


@dataclass(frozen=True)
class Channel:
    """The mean, the largest amplitude of the waves, and each wave's share of that amplitude (-1 … 1)."""

    mean: float
    scale: float
    waves: Sequence[float]


def thumbhash(pixels: bytes, width: int, height: int) -> bytes:
    """A placeholder of about 25 bytes for RGBA `pixels` (row-major, 4 bytes each, sides ≤ 100 px).

    Format: https://evanw.github.io/thumbhash/. Raises `ValueError` for a larger side.
    """
    if max(width, height) > MAX_SIDE_PX:
        raise ValueError(f"{width} × {height} px do not fit in {MAX_SIDE_PX} × {MAX_SIDE_PX} px")
    opaque = pixels[3::4].count(255) == width * height
    longest = 7 if opaque else 5
    nx, ny = (max(1, _rounded(longest * side / max(width, height))) for side in (width, height))
    sizes = [(max(3, nx), max(3, ny)), (3, 3), (3, 3), (5, 5)]
    values = _opaque_channels(pixels) if opaque else _transparent_channels(pixels)
    channels = [_transformed(each, width, height, *size) for each, size in zip(values, sizes, strict=False)]
    return _packed(channels, nx, ny, landscape=width > height)


def _opaque_channels(pixels: bytes) -> list[list[float]]:
    colors = list(zip(pixels[0::4], pixels[1::4], pixels[2::4], strict=True))
    return [
        [(red + green + blue) / 765 for red, green, blue in colors],
        [(red + green) / 510 - blue / 255 for red, green, blue in colors],
        [(red - green) / 255 for red, green, _ in colors],
    ]


def _transparent_channels(pixels: bytes) -> list[list[float]]:
    """The picture is drawn on its own mean colour, so that the transparent parts add no waves."""
    alphas = [value / 255 for value in pixels[3::4]]
    bands = [_on_its_mean(pixels[band::4], alphas) for band in range(3)]
    colors = list(zip(*bands, strict=True))
    return [
        [(red + green + blue) / 3 for red, green, blue in colors],
        [(red + green) / 2 - blue for red, green, blue in colors],
        [red - green for red, green, _ in colors],
        alphas,
    ]


def _on_its_mean(band: bytes, alphas: list[float]) -> list[float]:
    mean = sum(map(mul, band, alphas)) / 255 / (sum(alphas) or 1)
    return [mean * (1 - alpha) + alpha * value / 255 for value, alpha in zip(band, alphas, strict=True)]


def _transformed(values: list[float], width: int, height: int, nx: int, ny: int) -> Channel:
    """The waves of up to `nx` × `ny` half periods, the triangle of the low ones."""
    across, down = _cosines(width, nx), _cosines(height, ny)
    rows = [values[start : start + width] for start in range(0, width * height, width)]
    columns = [[sum(map(mul, row, wave)) for row in rows] for wave in across]
    mean, *waves = (
        sum(map(mul, columns[x], down[y])) / (width * height)
        for y in range(ny)
        for x in range(nx)
        if x * ny < nx * (ny - y)
    )
    scale = max(map(abs, waves))
    return Channel(mean, scale, [wave / scale for wave in waves] if scale else waves)


def _cosines(length: int, count: int) -> list[list[float]]:
    return [[math.cos(math.pi / length * n * (i + 0.5)) for i in range(length)] for n in range(count)]


def _packed(channels: list[Channel], nx: int, ny: int, *, landscape: bool) -> bytes:
    """Means, scales and the shape in 5 or 6 bytes, and the waves in 4 bits each."""
    luminance, yellow_blue, red_green, *alpha = channels
    colors = (
        _rounded(63 * luminance.mean)
        | _rounded(31.5 + 31.5 * yellow_blue.mean) << 6
        | _rounded(31.5 + 31.5 * red_green.mean) << 12
        | _rounded(31 * luminance.scale) << 18
        | bool(alpha) << 23
    )
    shape = (
        (ny if landscape else nx)
        | _rounded(63 * yellow_blue.scale) << 3
        | _rounded(63 * red_green.scale) << 9
        | landscape << 15
    )
    head = colors.to_bytes(3, "little") + shape.to_bytes(2, "little")
    head += bytes(_rounded(15 * each.mean) | _rounded(15 * each.scale) << 4 for each in alpha)
    nibbles = [_rounded(7.5 + 7.5 * wave) for channel in channels for wave in channel.waves]
    if len(nibbles) % 2:
        nibbles.append(0)
    return head + bytes(low | high << 4 for low, high in zip(nibbles[0::2], nibbles[1::2], strict=True))


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)  # a half goes up, as in the format's reference
