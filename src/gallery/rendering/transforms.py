"""The steps from a picture to its renditions.

Each takes a picture and returns a picture: the same one when nothing has to be done.
"""

import io
from collections.abc import Sequence

from PIL import ImageCms

from gallery.rendering.color_space import ColorInfo, ColorSpace
from gallery.rendering.file_headers import GifCanvas
from gallery.rendering.picture_spec import Rect
from gallery.rendering.recipe import Size
from gallery.rendering.to_srgb import to_srgb
from gallery.rendering.vips import PROFILE_FIELD, Picture, VipsError, metadata_blob, with_profile

RGB_INTERPRETATIONS = {"b-w": "srgb", "grey16": "rgb16"}  # libvips' names for gray, with those for the same in RGB
PROFILE_COLOR_SPACES = {"b-w": "GRAY", "grey16": "GRAY", "srgb": "RGB", "rgb16": "RGB", "cmyk": "CMYK"}
SIDEWAYS_ORIENTATIONS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap the sides


def upright_sides(picture: Picture) -> tuple[int, int]:
    sideways = picture.get_typeof("orientation") and picture.get("orientation") in SIDEWAYS_ORIENTATIONS
    return (picture.height, picture.width) if sideways else (picture.width, picture.height)


def stored_region(region: Rect, picture: Picture) -> Rect:
    """The part of a picture as stored that is `region` when the picture is upright."""
    wide, high = picture.width, picture.height
    x, y, width, height = region
    right, bottom = x + width, y + height
    orientation = picture.get("orientation") if picture.get_typeof("orientation") else 1
    stored = {
        2: (wide - right, y, width, height),
        3: (wide - right, high - bottom, width, height),
        4: (x, high - bottom, width, height),
        5: (y, x, height, width),
        6: (y, high - right, height, width),
        7: (wide - bottom, high - right, height, width),
        8: (wide - bottom, x, height, width),
    }.get(orientation, region)
    return Rect(*stored)


def shrunk_region(region: Rect, factor: int, picture: Picture) -> Rect:
    """`region` of a picture as stored, in that picture loaded this many times smaller: to the nearest pixel."""
    x, y = min(round(region.x / factor), picture.width - 1), min(round(region.y / factor), picture.height - 1)
    right, bottom = (
        min(max(round(end / factor), start + 1), side)
        for end, start, side in (
            (region.x + region.width, x, picture.width),
            (region.y + region.height, y, picture.height),
        )
    )
    return Rect(x, y, right - x, bottom - y)


def on_canvas(frame: Picture, canvas: GifCanvas) -> Picture:
    """The first frame of a GIF on its canvas, transparent around the frame.

    libvips makes that part black, and ignores some sizes of screens: then its picture ends with the frame.
    """
    if canvas.is_covered or not canvas.frame_width or not canvas.frame_height:
        return frame
    painted = frame.crop(canvas.left, canvas.top, canvas.frame_width, canvas.frame_height)
    painted = painted if painted.hasalpha() else painted.addalpha()
    free = [0.0] * painted.bands
    return painted.embed(canvas.left, canvas.top, canvas.width, canvas.height, extend="background", background=free)


def expand_range(picture: Picture, colors: ColorInfo) -> Picture:
    """Expands gray from 16 … 235 to 0 … 255; for colours libheif does that itself."""
    if not colors.limited_gray:
        return picture
    black, scale = (16 << 8 if picture.format == "ushort" else 16), 255 / 219
    gray = picture.bands - picture.hasalpha()
    scales, offsets = [scale] * gray, [-black * scale] * gray
    if picture.hasalpha():
        scales, offsets = [*scales, 1], [*offsets, 0]
    return picture.linear(scales, offsets).rint().cast(picture.format)


def unpremultiply(picture: Picture, colors: ColorInfo) -> Picture:
    """Divides premultiplied colours by their alpha."""
    if not colors.premultiplied or not picture.hasalpha():
        return picture
    deep = picture.format == "ushort"
    return picture.unpremultiply(max_alpha=65_535 if deep else 255).rint().cast(picture.format)


def with_usable_profile(picture: Picture) -> Picture:
    """The picture with a usable profile or with none, as in browsers.

    Gray becomes RGB when the profile is for RGB. A profile that is broken or for other channels is removed: libvips
    would use a default profile instead. Some profiles can be read and fail only when they are linked to sRGB's, so one
    pixel is converted as a test.
    """
    profile = metadata_blob(picture, PROFILE_FIELD)
    if not profile:
        return picture
    channels = _profile_color_space(profile)
    if channels == "RGB" and picture.interpretation in RGB_INTERPRETATIONS:
        picture = picture.colourspace(RGB_INTERPRETATIONS[picture.interpretation])
    if channels != PROFILE_COLOR_SPACES.get(picture.interpretation) or not _is_usable(picture, profile):
        return without_profile(picture)
    return picture


def without_profile(picture: Picture) -> Picture:
    plain = picture.copy()
    plain.remove(PROFILE_FIELD)
    return plain


def cmyk_to_rgb(picture: Picture) -> Picture:
    """Converts CMYK without a profile as a browser does: less ink, more light."""
    if picture.interpretation != "cmyk" or metadata_blob(picture, PROFILE_FIELD):
        return picture
    inverted = picture.invert()
    return (inverted[0:3] * inverted[3] / 255).cast("uchar").copy(interpretation="srgb")


def upright_srgb(picture: Picture, size: Size) -> Picture:
    """The picture rotated by its orientation, at exactly this size, in 8-bit sRGB with or without alpha.

    Colours are converted by the embedded profile and its intent.
    """
    if metadata_blob(picture, PROFILE_FIELD):
        return _profile_to_srgb(picture, size)
    return shrink(picture, size).colourspace("srgb")  # in a fifth of the time


def upright_srgb_from(picture: Picture, size: Size, space: ColorSpace) -> Picture:
    """The same from another colour space; a profile is ignored."""
    plain = without_profile(picture)
    return upright_srgb(plain, size) if space.is_srgb else to_srgb(shrink(plain, size), space)


def shrink(picture: Picture, size: Size) -> Picture:
    """The picture at exactly this size, and upright: `thumbnail_image` rotates it."""
    return picture.thumbnail_image(size.width, height=size.height, size="force")


def flatten(picture: Picture) -> Picture:
    """The picture on a white background, without alpha."""
    return picture.flatten(background=255) if picture.hasalpha() else picture


def shrink_all(largest: Picture, sizes: Sequence[Size]) -> list[Picture]:
    """A picture for each of the sizes, all made from the largest: no worse to the eye than from the original."""
    return [shrink(largest, size).copy_memory() for size in sizes[:-1]] + [largest]


def _profile_color_space(profile: bytes) -> str:
    """GRAY, RGB, CMYK or another of littleCMS' names; "" if the profile is unreadable."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (OSError, ValueError, ImageCms.PyCMSError):
        return ""


def _is_usable(picture: Picture, profile: bytes) -> bool:
    pixel = Picture.black(1, 1, bands=picture.bands).cast(picture.format).copy(interpretation=picture.interpretation)
    try:
        _profile_to_srgb(with_profile(pixel, profile), Size("pixel", 1, 1)).copy_memory()
    except VipsError:
        return False
    return True


def _profile_to_srgb(picture: Picture, size: Size) -> Picture:
    return picture.thumbnail_image(size.width, height=size.height, size="force", export_profile="srgb", intent="auto")
