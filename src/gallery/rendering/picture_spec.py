"""A picture on demand as numbers, and its geometry. Loads no libvips, so any process may import it.

The steps are `rect`, `rotate`, `flip`, the size, the effects. `width`, `height`, `fit` and `focus` speak of the picture
as it is after the first three. It is never enlarged.
"""

from enum import StrEnum
from typing import NamedTuple, TypeVar

from msgspec import Struct

from gallery.rendering.probe import Format

MAX_SIDE = 8192  # px

Number = TypeVar("Number", int, float)


class Fit(StrEnum):
    INSIDE = "inside"
    COVER = "cover"
    CONTAIN = "contain"
    FILL = "fill"


class Gravity(StrEnum):
    """What the crop keeps, found in the pixels: what draws the eye, or where most detail is."""

    ATTENTION = "attention"
    ENTROPY = "entropy"


class Rect(NamedTuple):
    """In pixels: the left upper corner, and the sides."""

    x: int
    y: int
    width: int
    height: int


class Point(NamedTuple):
    """From 0 to 1, of the width from the left and of the height from the top."""

    x: float
    y: float


class Color(NamedTuple):
    """Each from 0 to 255."""

    red: int
    green: int
    blue: int
    alpha: int = 255


CENTER = Point(0.5, 0.5)


class PictureSpec(Struct, frozen=True, kw_only=True):
    """All that a renderer needs to know.

    `rect` is in pixels of the upright original, `rotate` in degrees clockwise, `flip` "", "h", "v" or "hv"; `width` and
    `height` are the box in pixels; `quality` from 1 to 100; `background` behind transparency and padding; `blur` is a
    standard deviation in pixels, `sharpen` the amount of an unsharp mask; `bitonal` means black and
    white only.
    """

    format: Format
    quality: int
    rect: Rect | None = None
    rotate: int = 0
    flip: str = ""
    width: int | None = None
    height: int | None = None
    fit: Fit = Fit.INSIDE
    focus: Point | Gravity = CENTER
    background: Color | None = None
    blur: float | None = None
    sharpen: float | None = None
    gray: bool = False
    bitonal: bool = False

    @property
    def sideways(self) -> bool:
        return self.rotate in (90, 270)


class Layout(NamedTuple):
    """How the turned picture becomes the result: shrunk to `size`, cut to `crop`, or padded to `canvas`."""

    size: tuple[int, int]
    crop: tuple[int, int] | None = None
    canvas: tuple[int, int] | None = None

    @property
    def result(self) -> tuple[int, int]:
        return self.crop or self.canvas or self.size


def cut_sides(spec: PictureSpec, width: int, height: int) -> tuple[int, int]:
    """The sides of an upright picture after `rect` and `rotate`."""
    if spec.rect is not None:
        width, height = spec.rect.width, spec.rect.height
    return (height, width) if spec.sideways else (width, height)


def clip(rect: Rect, width: int, height: int) -> Rect | None:
    """The part of `rect` that is inside a picture of these sides; `None` if there is none."""
    x, y = max(rect.x, 0), max(rect.y, 0)
    right, bottom = min(rect.x + rect.width, width), min(rect.y + rect.height, height)
    return Rect(x, y, right - x, bottom - y) if x < right and y < bottom else None


def layout(spec: PictureSpec, width: int, height: int) -> Layout:
    """The layout of the picture that is cut out of, and turned from, an upright original of these sides."""
    wide, high = cut_sides(spec, width, height)
    if spec.width is None or spec.height is None or spec.fit is Fit.INSIDE:
        box = spec.width or MAX_SIDE, spec.height or MAX_SIDE
        return Layout(_scaled(wide, high, min(box[0] / wide, box[1] / high, 1)))
    box = spec.width, spec.height
    match spec.fit:
        case Fit.FILL:
            return Layout((min(box[0], wide), min(box[1], high)))
        case Fit.CONTAIN:
            return Layout(_scaled(wide, high, min(box[0] / wide, box[1] / high, 1)), canvas=box)
        case _:
            return _cover(wide, high, *box)


def crop_corner(size: tuple[int, int], crop: tuple[int, int], focus: Point) -> tuple[int, int]:
    """The left upper corner of the crop whose centre is as near to `focus` as the picture allows."""
    left, top = (
        _clamp(round(share * side - part / 2), 0, side - part)
        for share, side, part in zip(focus, size, crop, strict=True)
    )
    return left, top


def turned(focus: Point, spec: PictureSpec, width: int, height: int) -> Point:
    """A point of an upright picture of these sides, as a point of the picture after `rect`, `rotate` and `flip`."""
    x, y = focus
    if spec.rect is not None:
        x = _clamp((x * width - spec.rect.x) / spec.rect.width, 0.0, 1.0)
        y = _clamp((y * height - spec.rect.y) / spec.rect.height, 0.0, 1.0)
    x, y = {0: (x, y), 90: (1 - y, x), 180: (1 - x, 1 - y), 270: (y, 1 - x)}[spec.rotate]
    return Point(1 - x if "h" in spec.flip else x, 1 - y if "v" in spec.flip else y)


def _cover(wide: int, high: int, box_width: int, box_height: int) -> Layout:
    """The box filled; a box larger than the picture is made smaller, in its ratio."""
    shrink = min(1.0, wide / box_width, high / box_height)
    crop = _scaled(box_width, box_height, shrink)
    scale = max(crop[0] / wide, crop[1] / high)
    size = _scaled(wide, high, min(scale, 1))
    return Layout((max(size[0], crop[0]), max(size[1], crop[1])), crop=crop)


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _clamp(value: Number, low: Number, high: Number) -> Number:
    return max(low, min(value, high))
