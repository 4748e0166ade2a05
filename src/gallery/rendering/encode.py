"""Writes renditions that hold only pixels: no EXIF, no location, no comment, no profile (sRGB needs none)."""

from pathlib import Path

from gallery.rendering.probe import Format
from gallery.rendering.recipe import ENCODERS
from gallery.rendering.transforms import flatten
from gallery.rendering.vips import Picture

SAVERS = {Format.AVIF: "heifsave", Format.WEBP: "webpsave", Format.JPEG: "jpegsave", Format.PNG: "pngsave"}


def write(picture: Picture, path: Path, kind: Format, quality: int) -> int:
    """Writes `picture` to `path` and returns the file's size in bytes. PNG has no quality."""
    if kind is Format.JPEG:
        picture = flatten(picture)
    getattr(picture, SAVERS[kind])(str(path), Q=quality, keep="none", **ENCODERS[kind])
    return path.stat().st_size
