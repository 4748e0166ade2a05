"""The file that a picture on demand is made from: a kept rendition where it is good enough, else the original."""

from gallery.images.model import Image, Rendition
from gallery.rendering.picture_spec import PictureSpec, Rect, layout
from gallery.rendering.probe import Format

MIN_OVERSAMPLING = 2  # a rendition has at least twice the sides of what is made from it: decision 0123
MAX_QUALITY = 85  # of a picture that is made from a rendition, which has lost something already


def choose_source(image: Image, spec: PictureSpec) -> Rendition | None:
    """The smallest rendition that is large enough; `None` for the original.

    The original is taken for a picture that is sharpened, which would show the rendition's artefacts, and for PNG and
    high qualities, which are asked for where every pixel counts.
    """
    if image.width is None or image.height is None:
        return None
    if spec.sharpen or spec.format is Format.PNG or spec.quality > MAX_QUALITY:
        return None
    wide, high = _size_of_whole(spec, image.width, image.height)
    large_enough = [
        rendition
        for rendition in image.renditions
        if rendition.format == _source_format(image)
        and rendition.width >= wide * MIN_OVERSAMPLING
        and rendition.height >= high * MIN_OVERSAMPLING
    ]
    return min(large_enough, key=lambda rendition: rendition.width, default=None)


def _size_of_whole(spec: PictureSpec, width: int, height: int) -> tuple[float, float]:
    """The sides that the whole upright original would have at the scale of what is made of it, or of a part of it."""
    wide, high = layout(spec, width, height).size
    if spec.sideways:
        wide, high = high, wide
    part = spec.rect or Rect(0, 0, width, height)
    return wide * width / part.width, high * height / part.height


def _source_format(image: Image) -> Format:
    """JPEG is decoded in half the time, but has no transparency."""
    return Format.JPEG if image.mime_type == Format.JPEG.mime_type else Format.WEBP
