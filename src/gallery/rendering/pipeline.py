"""Renders an original to all its renditions. The worker runs `render` in a child process, which may crash.

Importing this file loads no decoder, calling `render` does: other processes stay small and safe.
"""

from pathlib import Path

from gallery.errors import RendererFailed
from gallery.rendering import exif
from gallery.rendering.probe import probe
from gallery.rendering.recipe import Recipe
from gallery.rendering.rendered import Rendered, Rendition


def render(source: Path, target: Path, recipe: Recipe) -> Rendered:
    """Reads the original at `source` and writes its renditions into the directory `target`.

    Raises `DamagedPicture` when the file is incomplete or cannot be decoded, `MemoryError` when there is not enough
    memory for its pixels, and the errors of `probe` when its format or size is not accepted.
    """
    from gallery.rendering import decode, encode, placeholder, transforms, vips  # noqa: PLC0415 - not before they are needed

    with source.open("rb") as file:
        facts = probe(file, recipe.limits)
    original, tags = decode.open_picture(source, facts.format, recipe.limits)
    width, height = transforms.upright_sides(original)
    sizes = recipe.all_sizes(width, height)
    largest = decode.load_at_size(list(sizes)[-1], original, source, facts.format)
    del original  # frees its memory
    with vips.translate_errors(RendererFailed):
        pictures = transforms.shrink_all(largest, list(sizes))
        renditions = tuple(
            Rendition(
                name, kind, wide, high, encode.write(picture, target / f"{name}.{kind}", kind, recipe.quality(kind))
            )
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
