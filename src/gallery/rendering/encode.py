"""Writes renditions that hold only pixels: no EXIF, no location, no comment, no profile (sRGB needs none)."""

from pathlib import Path

from gallery.rendering.probe import Format
from gallery.rendering.recipe import EFFORTS
from gallery.rendering.transforms import flatten
from gallery.rendering.vips import Picture


def write(picture: Picture, path: Path, kind: Format, quality: int) -> int:
    """Writes `picture` to `path` and returns the file's size in bytes. PNG has no quality."""
    match kind:
        case Format.AVIF:
            picture.heifsave(str(path), Q=quality, effort=EFFORTS[kind], compression="av1", encoder="aom", keep="none")
        case Format.WEBP:
            picture.webpsave(str(path), Q=quality, effort=EFFORTS[kind], keep="none")
        case Format.PNG:
            picture.pngsave(str(path), keep="none")
        case _:
            flatten(picture).jpegsave(str(path), Q=quality, keep="none")
    return path.stat().st_size
