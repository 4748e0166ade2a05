"""Writes renditions that hold only pixels: no EXIF, no location, no comment, no profile (sRGB needs none)."""

from pathlib import Path

from gallery.rendering.probe import Format
from gallery.rendering.recipe import Recipe
from gallery.rendering.transforms import flatten
from gallery.rendering.vips import Picture


def write(picture: Picture, path: Path, kind: Format, recipe: Recipe) -> int:
    """Writes `picture` to `path` and returns the file's size in bytes."""
    if kind is Format.AVIF:
        picture.heifsave(
            str(path), Q=recipe.avif_quality, effort=recipe.avif_effort, compression="av1", encoder="aom", keep="none"
        )
    elif kind is Format.WEBP:
        picture.webpsave(str(path), Q=recipe.webp_quality, effort=recipe.webp_effort, keep="none")
    else:
        flatten(picture).jpegsave(str(path), Q=recipe.jpeg_quality, keep="none")
    return path.stat().st_size
