"""The steps on the way from a picture to its renditions.

Each takes a picture and gives one back: its own where there is nothing to do.
"""

from collections.abc import Sequence

from gallery.rendering.headers import GifCanvas
from gallery.rendering.recipe import Size
from gallery.rendering.vips import PROFILE, Picture, Unusable, blob, with_profile

SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap the sides


def upright_sides(picture: Picture) -> tuple[int, int]:
    sideways = picture.get_typeof("orientation") and picture.get("orientation") in SIDEWAYS
    return (picture.height, picture.width) if sideways else (picture.width, picture.height)


def on_canvas(frame: Picture, canvas: GifCanvas) -> Picture:
    """The first frame of a GIF, transparent where it leaves its canvas free.

    libvips makes that black, and takes some sizes of screens for none: then it gives what the frame reaches.
    """
    if canvas.covered or not canvas.frame_width or not canvas.frame_height:
        return frame
    painted = frame.crop(canvas.left, canvas.top, canvas.frame_width, canvas.frame_height)
    painted = painted if painted.hasalpha() else painted.addalpha()
    free = [0.0] * painted.bands
    return painted.embed(canvas.left, canvas.top, canvas.width, canvas.height, extend="background", background=free)


def linkable(picture: Picture) -> Picture:
    """Without its profile where colours cannot go by it: it is broken, or of a kind that describes no picture.

    Some profiles can be read and turn out to be of no use only when they are linked to ours: so one pixel is tried.
    """
    profile = blob(picture, PROFILE)
    if not profile:
        return picture
    pixel = Picture.black(1, 1, bands=picture.bands).cast(picture.format).copy(interpretation=picture.interpretation)
    try:
        _to_srgb(with_profile(pixel, profile), Size("pixel", 1, 1)).copy_memory()
    except Unusable:
        plain = picture.copy()
        plain.remove(PROFILE)
        return plain
    return picture


def light(picture: Picture) -> Picture:
    """Inks without a profile become light as in a browser: less ink, more light."""
    if picture.interpretation != "cmyk" or blob(picture, PROFILE):
        return picture
    paper = picture.invert()
    return (paper[0:3] * paper[3] / 255).cast("uchar").copy(interpretation="srgb")


def upright_srgb(picture: Picture, size: Size) -> Picture:
    """Turned as its orientation says, of exactly this size, in 8-bit sRGB with or without alpha.

    Colours go by the embedded profile and its intent.
    """
    if blob(picture, PROFILE):
        return _to_srgb(picture, size)
    return shrunk(picture, size).colourspace("srgb")  # in a fifth of the time


def shrunk(picture: Picture, size: Size) -> Picture:
    """Of exactly this size; and upright, which is the way of `thumbnail_image`."""
    return picture.thumbnail_image(size.width, height=size.height, size="force")


def flat(picture: Picture) -> Picture:
    """On white where it is transparent."""
    return picture.flatten(background=255) if picture.hasalpha() else picture


def ladder(largest: Picture, sizes: Sequence[Size]) -> list[Picture]:
    """A picture for each of the sizes, all made from the largest: no worse to the eye than from the original."""
    return [shrunk(largest, size).copy_memory() for size in sizes[:-1]] + [largest]


def _to_srgb(picture: Picture, size: Size) -> Picture:
    return picture.thumbnail_image(size.width, height=size.height, size="force", export_profile="srgb", intent="auto")
