"""What a page shows before the picture is there: a thumbhash of about 25 bytes, and one colour.

The format of the first: https://evanw.github.io/thumbhash/.
"""

import base64
from collections import Counter

from fast_thumbhash import rgba_to_thumb_hash  # type: ignore[import-untyped]  # has no types

from gallery.rendering.steps import flat
from gallery.rendering.vips import Picture

HASHED_SIDE = 100  # px, the most that a thumbhash takes
COUNTED_SIDE = 32  # px, enough to say what colour a picture mostly has


def thumbhash(picture: Picture) -> str:
    """In base64."""
    small = _small(picture, HASHED_SIDE)
    pixels = small if small.hasalpha() else small.bandjoin(255)
    hashed = rgba_to_thumb_hash(small.width, small.height, bytes(pixels.write_to_memory()))
    return base64.b64encode(bytes(hashed)).decode()


def color(picture: Picture) -> str:
    """The most frequent of 512 colours, as the mean of the pixels that fall into it: `#rrggbb`."""
    data = bytes(flat(_small(picture, COUNTED_SIDE)).write_to_memory())
    pixels = Counter(zip(data[0::3], data[1::3], data[2::3], strict=True))
    crowds: dict[tuple[int, ...], Counter[tuple[int, int, int]]] = {}
    for pixel, count in pixels.items():
        crowds.setdefault(tuple(value >> 5 for value in pixel), Counter())[pixel] = count
    crowd = max(crowds.values(), key=Counter.total)
    mean = (round(sum(pixel[band] * n for pixel, n in crowd.items()) / crowd.total()) for band in range(3))
    return "#" + "".join(f"{value:02x}" for value in mean)


def _small(picture: Picture, side: int) -> Picture:
    return picture.thumbnail_image(side, height=side, size="down")
