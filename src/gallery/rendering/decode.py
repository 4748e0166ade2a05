"""From the original file to its largest rendition's pixels, as lightly as the format allows.

Whatever is wrong with the file comes out as `DamagedPicture`. libvips is told `fail_on="truncated"`: that refuses files
that are cut short and data that cannot be decompressed. `"error"` finds nothing more in our formats; `"warning"`
refuses photos that every viewer shows, such as those of phones that write stray bytes between two JPEG markers. Of an
animation only the first frame is read, so damage behind it goes unseen.
"""

from pathlib import Path

import pillow_heif

from gallery.errors import DamagedPicture
from gallery.rendering import abuse, file_headers, heif_colors, png_colors, transforms
from gallery.rendering.color_space import ColorInfo
from gallery.rendering.probe import Format, Limits
from gallery.rendering.recipe import Size
from gallery.rendering.vips import EXIF_FIELD, Picture, metadata_blob, translate_errors, with_profile

LOADERS = {
    Format.JPEG: "jpegload",
    Format.PNG: "pngload",
    Format.GIF: "gifload",
    Format.AVIF: "heifload",
}
LOAD_OPTIONS = {"access": "sequential", "fail_on": "truncated"}  # row by row, and whole
MIN_OVERSAMPLING = 2  # a JPEG is loaded at least twice as large as needed: SSIM to the ideal 0.982, without spare 0.975

pillow_heif.options.DECODE_THREADS = 1
pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False


def open_picture(source: Path, kind: Format, limits: Limits) -> tuple[Picture, bytes]:
    """The picture with its header read and checked again, and of HEIC alone its pixels; and its EXIF.

    It is as stored, not upright.
    """
    with translate_errors(DamagedPicture):
        if kind is Format.HEIC:
            return _open_heic(source, limits)
        picture = _open(source, kind)
        limits.check(picture.width, picture.height)
        return picture, metadata_blob(picture, EXIF_FIELD)


def load_at_size(size: Size, picture: Picture, source: Path, kind: Format) -> Picture:
    """The pixels in memory: upright, at this size, in sRGB."""
    with translate_errors(DamagedPicture):
        if kind is Format.JPEG:
            picture = _load_jpeg(source, shrink=_jpeg_shrink(picture, size))
        if space := read_color_info(source, kind).space:
            return transforms.upright_srgb_from(picture, size, space).copy_memory()
        return transforms.upright_srgb(
            transforms.cmyk_to_rgb(transforms.with_usable_profile(picture)), size
        ).copy_memory()


def read_color_info(source: Path, kind: Format) -> ColorInfo:
    """What the file tells of its colours but by an ICC profile."""
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
    """A file that lacks nothing but its last two bytes (EOI) is whole: some cameras do not write them.

    With them put back, what is missing before them is the first thing that libjpeg warns of.
    """
    content = source.read_bytes()
    if abuse.has_eoi(content):
        return _load(source, Format.JPEG, shrink=shrink)
    return Picture.jpegload_buffer(content + abuse.EOI, **(LOAD_OPTIONS | {"fail_on": "warning"}), shrink=shrink)


def _load(source: Path, kind: Format, **options: int) -> Picture:
    """By the loader of this one format: first frame only."""
    return getattr(Picture, LOADERS[kind])(str(source), **LOAD_OPTIONS, **options)


def _jpeg_shrink(picture: Picture, size: Size) -> int:
    """How much libjpeg may shrink while it decodes; by the longer sides, whichever way the picture was held.

    A side that is shorter than that would vanish.
    """
    factor = max(picture.width, picture.height) / max(size.width, size.height)
    shortest = min(picture.width, picture.height)
    return next((shrink for shrink in (8, 4, 2) if factor >= shrink * MIN_OVERSAMPLING and shortest >= shrink), 1)


def _open_heic(source: Path, limits: Limits) -> tuple[Picture, bytes]:
    """By libheif, which has already turned the picture as its container says.

    EXIF repeats that turn, so it must not become part of the picture: libvips would see the orientation in it.
    """
    heif = pillow_heif.open_heif(source)
    if not len(heif):
        raise ValueError("no picture inside that libheif can read")
    limits.check(*heif.size)
    channels, _, deep = heif.mode.partition(";")  # "RGB", "RGBA", "RGBa", "L" or "LA", and "I;16" for deep gray
    pixels = Picture.new_from_memory(heif.data, *heif.size, len(channels), "ushort" if deep else "uchar")
    meaning = "grey16" if deep else "srgb" if channels.startswith("RGB") else "b-w"
    picture = transforms.unpremultiply(pixels.copy(interpretation=meaning), read_color_info(source, Format.HEIC))
    return with_profile(picture, heif.info.get("icc_profile")), heif.info.get("exif") or b""
