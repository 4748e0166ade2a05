"""The grammar of the IIIF Image API 3.0 (https://iiif.io/api/image/3.0/), as pictures on demand.

Its order is region, size, mirroring, rotation, quality, format; so the size speaks of the picture before its rotation.
"""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from gallery.errors import IiifNotSupported, IiifRequestInvalid
from gallery.images.model import Image
from gallery.rendering.picture_spec import MAX_SIDE, Fit, PictureSpec, Rect, clip
from gallery.rendering.probe import Format
from gallery.rendering.recipe import Recipe

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROTOCOL = "http://iiif.io/api/image"
TILE_WIDTH = 512  # px
FORMATS = {"jpg": Format.JPEG, "png": Format.PNG, "webp": Format.WEBP, "avif": Format.AVIF}
OTHER_FORMATS = frozenset({"tif", "gif", "jp2", "pdf"})  # of the standard
LEVEL_FORMATS = {"level1": frozenset({"jpg"}), "level2": frozenset({"jpg", "png"})}  # that the level requires
QUALITIES = ("default", "color", "gray", "bitonal")
EXTRA_FEATURES = ("mirroring", "profileLinkHeader", "canonicalLinkHeader")
LEVEL_2_FEATURES = ("regionByPct", "sizeByPct", "sizeByConfinedWh", "rotationBy90s")  # beyond those of level 1

NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
PIXELS = re.compile(r"(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})", re.ASCII)
PERCENT = re.compile(rf"pct:({NUMBER}),({NUMBER}),({NUMBER}),({NUMBER})", re.ASCII)
SIZE = re.compile(
    rf"(?P<up>\^?)(?:(?P<max>max)|pct:(?P<pct>{NUMBER})|(?P<confined>!?)(?P<w>\d{{0,9}}),(?P<h>\d{{0,9}}))", re.ASCII
)
ROTATION = re.compile(rf"(?P<mirrored>!?)(?P<degrees>{NUMBER})", re.ASCII)


class IiifRequest(NamedTuple):
    """The parts of the path after the image's id."""

    region: str
    size: str
    rotation: str
    quality: str
    format: str


def picture_spec(request: IiifRequest, width: int, height: int, recipe: Recipe) -> PictureSpec:
    """The picture of an upright original of these sides.

    Raises `IiifRequestInvalid` for what the standard does not allow, and `IiifNotSupported` for what it leaves open.
    """
    region = _region(request.region, width, height)
    wide, high = _size(request.size, region.width, region.height)
    rotate, mirrored = _rotation(request.rotation)
    sideways = rotate in (90, 270)
    kind = _format(request.format)
    if request.quality not in QUALITIES:
        raise IiifRequestInvalid(f"The quality must be one of {', '.join(QUALITIES)}.")
    return PictureSpec(
        format=kind,
        quality=recipe.quality(kind),
        rect=None if region == Rect(0, 0, width, height) else region,
        rotate=rotate,
        flip=("v" if sideways else "h") if mirrored else "",  # mirroring goes before the rotation, a flip after it
        width=high if sideways else wide,
        height=wide if sideways else high,
        fit=Fit.FILL,
        gray=request.quality == "gray",
        bitonal=request.quality == "bitonal",
    )


def enabled_formats(formats: Collection[Format]) -> list[Format]:
    """Those of pictures on demand, and JPEG, which every level requires; pictures on demand fall back to it, too."""
    return [kind for kind in FORMATS.values() if kind in formats or kind == Format.JPEG]


def compliance_level(formats: Collection[Format]) -> str:
    """The level of an image whose pictures have these formats: PNG makes the difference."""
    return "level2" if Format.PNG in formats else "level1"


def image_information(image: Image, address: str, formats: Collection[Format]) -> dict[str, Any]:
    """The document `info.json` of a READY image whose service has this address and these formats."""
    width, height = image.width or 0, image.height or 0
    factors = [2**n for n in range(16) if n == 0 or TILE_WIDTH * 2 ** (n - 1) < max(width, height)]
    limit = {"maxWidth": MAX_SIDE, "maxHeight": MAX_SIDE} if max(width, height) > MAX_SIDE else {}
    enabled = [name for name, kind in FORMATS.items() if kind in formats]
    level = compliance_level(formats)
    return {
        "@context": CONTEXT,
        "id": address,
        "type": "ImageService3",
        "protocol": PROTOCOL,
        "profile": level,
        "width": width,
        "height": height,
        **limit,
        "sizes": [{"width": wide, "height": high} for wide, high in _sizes(image)],
        "tiles": [{"width": TILE_WIDTH, "scaleFactors": factors}],
        "preferredFormats": [name for name in ("webp", "jpg") if name in enabled],
        "extraFormats": [name for name in enabled if name not in LEVEL_FORMATS[level]],
        "extraQualities": list(QUALITIES[1:]),
        "extraFeatures": [*EXTRA_FEATURES, *(LEVEL_2_FEATURES if level == "level1" else ())],
    }


def _sizes(image: Image) -> list[tuple[int, int]]:
    """The sizes of the renditions, from which such a picture is cheap."""
    return sorted({(rendition.width, rendition.height) for rendition in image.renditions})


def _region(text: str, width: int, height: int) -> Rect:
    if text == "full":
        return Rect(0, 0, width, height)
    if text == "square":
        side = min(width, height)
        return Rect((width - side) // 2, (height - side) // 2, side, side)
    if match := PIXELS.fullmatch(text):
        wanted = Rect(*(int(part) for part in match.groups()))
    elif match := PERCENT.fullmatch(text):
        x, y, wide, high = (float(part) / 100 for part in match.groups())
        wanted = Rect(round(x * width), round(y * height), round(wide * width), round(high * height))
    else:
        raise IiifRequestInvalid("The region must be full, square, x,y,w,h or pct:x,y,w,h.")
    region = clip(wanted, width, height)
    if region is None:
        raise IiifRequestInvalid("The region is empty, or outside the picture.")
    return region


def _size(text: str, width: int, height: int) -> tuple[int, int]:
    match = SIZE.fullmatch(text)
    if match is None or not (match["max"] or match["pct"] or match["w"] or match["h"]):
        raise IiifRequestInvalid("The size must be max, w,  ,h  pct:n  w,h or !w,h, perhaps after ^.")
    wide, high = _wanted_size(match, width, height)
    if min(wide, high) < 1:
        raise IiifRequestInvalid("The size must be one pixel or more.")
    if wide > width or high > height:
        if match["up"]:
            raise IiifNotSupported("Pictures are not enlarged here.")
        raise IiifRequestInvalid("The size is larger than the region; that needs ^.")
    if max(wide, high) > MAX_SIDE:
        raise IiifRequestInvalid(f"The size is larger than maxWidth and maxHeight, {MAX_SIDE}.")
    return wide, high


def _wanted_size(match: "re.Match[str]", width: int, height: int) -> tuple[int, int]:
    if match["max"]:
        return _times(width, height, min(1.0, MAX_SIDE / width, MAX_SIDE / height))
    if match["pct"]:
        return _times(width, height, float(match["pct"]) / 100)
    wide, high = (int(match[side]) if match[side] else None for side in "wh")
    if wide is None or high is None:
        if match["confined"]:
            raise IiifRequestInvalid("The size !w,h needs both sides.")
        return (
            (wide, round(height * wide / width))
            if wide is not None
            else (round(width * (high or 0) / height), high or 0)
        )
    return _times(width, height, min(wide / width, high / height)) if match["confined"] else (wide, high)


def _times(width: int, height: int, factor: float) -> tuple[int, int]:
    return round(width * factor), round(height * factor)


def _rotation(text: str) -> tuple[int, bool]:
    """Degrees clockwise, and whether the picture is mirrored before."""
    match = ROTATION.fullmatch(text)
    if match is None or float(match["degrees"]) > 360:
        raise IiifRequestInvalid("The rotation must be from 0 to 360 degrees, perhaps after ! for mirroring.")
    degrees = float(match["degrees"]) % 360
    if degrees % 90:
        raise IiifNotSupported("Pictures are rotated by 90, 180 and 270 degrees here.")
    return int(degrees), bool(match["mirrored"])


def _format(name: str) -> Format:
    if name in OTHER_FORMATS:
        raise IiifNotSupported(f"The formats here are {', '.join(FORMATS)}.")
    if name not in FORMATS:
        raise IiifRequestInvalid(f"The format must be one of {', '.join(FORMATS)}.")
    return FORMATS[name]
