"""From an original to all its renditions. The worker hands `render` to a child process, which may well die of it.

Importing this file loads no decoder, calling `render` does: those who only ask or pass on stay light and safe.
"""

from dataclasses import dataclass
from pathlib import Path

from gallery.errors import RendererFailed
from gallery.rendering import exif
from gallery.rendering.probe import Format, probe
from gallery.rendering.recipe import Recipe


@dataclass(frozen=True)
class Rendition:
    """One file, called `<name>.<format>`: sides in pixels, size in bytes."""

    name: str
    format: Format
    width: int
    height: int
    size: int


@dataclass(frozen=True)
class Rendered:
    """Facts that travel home by pickle, while the pixels stay in files.

    The sides are those of the upright picture, `thumbhash` is base64, `color` is `#rrggbb`.
    """

    width: int
    height: int
    renditions: tuple[Rendition, ...]
    thumbhash: str
    color: str
    exif: exif.Exif


def render(source: Path, target: Path, recipe: Recipe) -> Rendered:
    """Reads the original at `source` and writes its renditions into the directory `target`.

    Raises `DamagedPicture` when the file is incomplete or cannot be decoded, `MemoryError` when there is no room for
    its pixels, and what `probe` raises when it is no picture for us at all.
    """
    from gallery.rendering import decode, encode, placeholder, steps, vips  # noqa: PLC0415 - not before they are needed

    with source.open("rb") as file:
        facts = probe(file, recipe.limits)
    original, tags = decode.open_picture(source, facts.format, recipe.limits)
    width, height = steps.upright_sides(original)
    sizes = recipe.all_sizes(width, height)
    largest = decode.read_at(list(sizes)[-1], original, source, facts.format)
    del original  # what it holds is not needed twice
    with vips.failing_as(RendererFailed):
        pictures = steps.ladder(largest, list(sizes))
        renditions = tuple(
            Rendition(name, kind, wide, high, encode.write(picture, target / f"{name}.{kind}", kind, recipe))
            for ((name, wide, high), formats), picture in zip(sizes.items(), pictures, strict=True)
            for kind in formats
        )
        return Rendered(
            width,
            height,
            renditions,
            thumbhash=placeholder.thumbhash(pictures[0]),
            color=placeholder.color(pictures[0]),
            exif=exif.read(tags),
        )
