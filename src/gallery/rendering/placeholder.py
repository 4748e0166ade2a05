"""Placeholders that a page shows while the picture loads: a thumbhash of about 25 bytes, and one colour."""

import base64
from collections import Counter

from gallery.rendering import thumbhash as hashing
from gallery.rendering.transforms import flatten
from gallery.rendering.vips import Picture

COLOR_SAMPLE_SIDE = 32  # px, enough for the most frequent colour


def thumbhash(picture: Picture) -> str:
    """The thumbhash in base64."""
    small = _small(picture, hashing.MAX_SIDE_PX)
    pixels = small if small.hasalpha() else small.bandjoin(255)
    hashed = hashing.thumbhash(bytes(pixels.write_to_memory()), small.width, small.height)
    return base64.b64encode(hashed).decode()


def color(picture: Picture) -> str:
    """The most frequent of 512 colours, as the mean of its pixels: `#rrggbb`."""
    data = bytes(flatten(_small(picture, COLOR_SAMPLE_SIDE)).write_to_memory())
    pixels = Counter(zip(data[0::3], data[1::3], data[2::3], strict=True))
    buckets: dict[tuple[int, ...], Counter[tuple[int, int, int]]] = {}
    for pixel, count in pixels.items():
        buckets.setdefault(tuple(value >> 5 for value in pixel), Counter())[pixel] = count
    largest = max(buckets.values(), key=Counter.total)
    mean = (round(sum(pixel[band] * n for pixel, n in largest.items()) / largest.total()) for band in range(3))
    return "#" + "".join(f"{value:02x}" for value in mean)


def _small(picture: Picture, side: int) -> Picture:
    return picture.thumbnail_image(side, height=side, size="down")
