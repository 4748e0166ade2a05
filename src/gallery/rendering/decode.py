"""Decodes an original file to the pixels of its largest rendition, with as little memory as the format allows.

Every fault of the file is raised as `DamagedPicture`. libvips runs with `fail_on="truncated"`, which refuses files that
are cut short and data that cannot be decompressed. `"error"` finds nothing more in these formats. `"warning"` refuses
photos that every viewer shows, such as those of phones that write stray bytes between two JPEG markers. Only the first
frame of an animation is read, so damage behind it is not detected.
"""

from pathlib import Path

import pillow_heif

from gallery.errors import DamagedPicture
from gallery.rendering import abuse, file_headers, heif_colors, png_colors, transforms
from gallery.rendering.color_space import ColorInfo
from gallery.rendering.picture_spec import Rect
from gallery.rendering.probe import Format, Limits
from gallery.rendering.recipe import Size
from gallery.rendering.vips import EXIF_FIELD, Picture, metadata_blob, translate_errors, with_profile

LOADERS = {
    Format.JPEG: "jpegload",
    Format.PNG: "pngload",
    Format.GIF: "gifload",
    Format.AVIF: "heifload",
}
LOAD_OPTIONS = {"access": "sequential", "fail_on": "truncated"}
MIN_OVERSAMPLING = 2  # a JPEG is loaded at least twice as large as needed: SSIM to the ideal 0.982, at 1 only 0.975

pillow_heif.options.DECODE_THREADS = 1
pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False


def open_picture(source: Path, kind: Format, limits: Limits) -> tuple[Picture, bytes]:
    """Returns the picture as stored (not upright) and its EXIF. Only the header is read, of HEIC also the pixels.

    Raises `DamagedPicture`, and the errors of `limits.check`: the header is checked again.
    """
    with translate_errors(DamagedPicture):
        if kind is Format.HEIC:
            return _open_heic(source, limits)
        picture = _open(source, kind)
        limits.check(picture.width, picture.height)
        return picture, metadata_blob(picture, EXIF_FIELD)


def load_at_size(size: Size, picture: Picture, source: Path, kind: Format, region: Rect | None = None) -> Picture:
    """The pixels in memory: upright, at this size, in sRGB; of the whole, or of a region of the upright picture.

    Raises `DamagedPicture`.
    """
    with translate_errors(DamagedPicture):
        stored = region and transforms.stored_region(region, picture)
        if kind is Format.JPEG:
            upright = (region.width, region.height) if region else transforms.upright_sides(picture)
            shrink = _jpeg_shrink(*upright, size)
            picture = _load_jpeg(source, shrink=shrink)
            stored = stored and transforms.shrunk_region(stored, shrink, picture)
        if stored is not None:
            picture = picture.crop(*stored)
        if space := read_color_info(source, kind).space:
            return transforms.upright_srgb_from(picture, size, space).copy_memory()
        return transforms.upright_srgb(
            transforms.cmyk_to_rgb(transforms.with_usable_profile(picture)), size
        ).copy_memory()


def read_color_info(source: Path, kind: Format) -> ColorInfo:
    """The colour information of the file outside its ICC profile."""
    match kind:
        case Format.PNG:
            read = png_colors.read
        case Format.AVIF | Format.HEIC:
            read = heif_colors.read
        case _:
            return ColorInfo()
    with source.open("rb") as file:
        return read(file)


def _open(source: Path, kind: Format) -> Picture:
    match kind:
        case Format.JPEG:
            abuse.check_scans(source.read_bytes())
            return _load_jpeg(source)
        case Format.WEBP:
            return Picture.webpload_buffer(abuse.keep_first_frame(source.read_bytes()), **LOAD_OPTIONS)
        case Format.GIF:
            with source.open("rb") as file:
                return transforms.on_canvas(_load(source, kind), file_headers.gif_canvas(file))
        case Format.AVIF:
            color_info = read_color_info(source, kind)
            return transforms.unpremultiply(transforms.expand_range(_load(source, kind), color_info), color_info)
        case _:
            return _load(source, kind)


def _load_jpeg(source: Path, shrink: int = 1) -> Picture:
    """Loads a JPEG; a file that lacks only its last two bytes (EOI) is complete, as some cameras do not write them.

    They are added again. If more is missing, libjpeg warns of it first.
    """
    content = source.read_bytes()
    if abuse.has_eoi(content):
        return _load(source, Format.JPEG, shrink=shrink)
    return Picture.jpegload_buffer(content + abuse.EOI, **(LOAD_OPTIONS | {"fail_on": "warning"}), shrink=shrink)


def _load(source: Path, kind: Format, **options: int) -> Picture:
    """Loads the first frame with the loader of this format."""
    return getattr(Picture, LOADERS[kind])(str(source), **LOAD_OPTIONS, **options)


def _jpeg_shrink(width: int, height: int, size: Size) -> int:
    """The factor by which libjpeg may shrink an upright picture while it decodes, so that each side stays long enough.

    The longer sides are compared, and both where the picture is stretched: `size` is rounded. A side that is shorter
    than the factor would become 0.
    """
    factor = min(
        max(width, height) / max(size.width, size.height), width / (size.width - 0.5), height / (size.height - 0.5)
    )
    shortest = min(width, height)
    return next((shrink for shrink in (8, 4, 2) if factor >= shrink * MIN_OVERSAMPLING and shortest >= shrink), 1)


def _open_heic(source: Path, limits: Limits) -> tuple[Picture, bytes]:
    """Decodes with libheif, which has already rotated the picture as its container says.

    EXIF repeats that rotation, so it is returned apart from the picture: libvips would rotate it again.
    """
    heif = pillow_heif.open_heif(source)
    if not len(heif):
        raise ValueError("libheif finds no readable picture in the file")
    limits.check(*heif.size)
    channels, _, deep = heif.mode.partition(";")  # "RGB", "RGBA", "RGBa", "L" or "LA", and "I;16" for deep gray
    pixels = Picture.new_from_memory(heif.data, *heif.size, len(channels), "ushort" if deep else "uchar")
    meaning = "grey16" if deep else "srgb" if channels.startswith("RGB") else "b-w"
    picture = transforms.unpremultiply(pixels.copy(interpretation=meaning), read_color_info(source, Format.HEIC))
    return with_profile(picture, heif.info.get("icc_profile")), heif.info.get("exif") or b""
