"""JPEG, PNG, WebP and GIF of every kind that browsers distinguish."""

import io
import struct

from PIL import Image, ImageCms, ImageOps

import photos
from rendering.pairs import Row
from rendering.samples import (
    CMYK_PROFILE,
    CODE_POINTS,
    as_pillow,
    as_vips,
    icc_profile,
    patches,
    png_chunks,
    saved,
    values,
)

# --- JPEG ---------------------------------------------------------------------------------------------------------

JPEG = {
    "channels": ("L", "RGB", "CMYK"),
    "profile": ("none", "p3", "swapped", "linear", "press", "unlinkable", "cut", "cut press"),
    "progressive": (False, True),
    "subsampling": ("4:4:4", "4:2:0"),
    "orientation": (1, 3, 6, 7),
}


def jpeg(channels: str, profile: str, progressive: bool, subsampling: str, orientation: int) -> bytes:
    exif = photos.an_exif({}, orientation=orientation)
    options = {"quality": 95, "progressive": progressive, "exif": exif, "icc_profile": icc_profile(profile)}
    return saved(as_pillow(channels), "JPEG", subsampling=subsampling, **options)


def cmyk_reference(file: bytes, row: Row) -> bytes | None:
    """By littleCMS: the browser's own module makes other colours of a press profile's tables."""
    if row["channels"] != "CMYK" or row["profile"] != "press":
        return None
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    srgb = ImageCms.profileToProfile(
        picture, io.BytesIO(CMYK_PROFILE), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    return saved(srgb, "PNG", icc_profile=None)


# --- PNG ----------------------------------------------------------------------------------------------------------

PNG = {
    "channels": ("L", "LA", "RGB", "RGBA", "P"),
    "depth": (1, 4, 8, 16),
    "interlaced": (False, True),
    "colors": (
        *("none", "srgb chunk", "gamma 1.0", "gamma 1.8", "gamma 2.2", "gamma and primaries", "broken primaries"),
        *("profile p3", "profile unlinkable", "profile p3 and srgb", *CODE_POINTS, "pq of 4000 nits"),
    ),
}


def png_allowed(row: Row) -> bool:
    return {"L": True, "P": row["depth"] < 16}.get(row["channels"], row["depth"] >= 8)


def png(channels: str, depth: int, interlaced: bool, colors: str) -> bytes:
    few = channels == "P" or depth < 8
    pixels = (patches if few else values)("RGB" if channels == "P" else channels)
    image = as_vips(pixels, deep=depth == 16)
    options = {"palette": True, "dither": 0} if channels == "P" else {}
    bitdepth = depth if channels in {"L", "P"} or depth == 16 else 8
    file = bytes(image.pngsave_buffer(interlace=interlaced, bitdepth=bitdepth, compression=1, **options))
    return file[:33] + b"".join(png_chunks(colors)) + file[33:]


# --- WebP and GIF -------------------------------------------------------------------------------------------------

WEBP = {"channels": ("RGB", "RGBA"), "lossless": (False, True), "profile": ("none", "p3", "unlinkable", "cut")}
GIF = {"palette": (2, 16, 256), "alpha": (False, True), "frame": ("whole", "small", "larger than the screen")}


def webp(channels: str, lossless: bool, profile: str) -> bytes:
    return saved(as_pillow(channels), "WEBP", lossless=lossless, quality=95, icc_profile=icc_profile(profile) or b"")


def gif(palette: int, alpha: bool, frame: str) -> bytes:
    picture = as_pillow("RGB", patches).quantize(palette, dither=Image.Dither.NONE)
    options = {"transparency": 1} if alpha else {}
    file = bytearray(saved(picture, "GIF", **options))
    if frame != "whole":
        file[6:10] = struct.pack("<HH", *((side + 40 if frame == "small" else side // 2) for side in picture.size))
    return bytes(file)
