"""Renders one picture on demand. The API runs `render_picture` in a child process, which may crash.

Importing this file loads no decoder, calling `render_picture` does.
"""

import math
from dataclasses import replace
from pathlib import Path

from gallery.errors import RendererFailed
from gallery.rendering.memory import PictureOutput
from gallery.rendering.picture_spec import PictureSpec, Rect, clip, layout
from gallery.rendering.probe import Limits, probe
from gallery.rendering.recipe import Size
from gallery.rendering.rendered import RenderedPicture


def render_picture(
    source: Path, target: Path, spec: PictureSpec, sides: tuple[int, int], limits: Limits
) -> RenderedPicture:
    """Reads `source`, the original or a smaller rendition of it, and writes the picture to the file `target`.

    `sides` are those of the upright original, of which `spec` speaks. Raises `DamagedPicture` when the source cannot be
    decoded, `MemoryError` when there is not enough memory for its pixels, and the errors of `probe`.
    """
    from gallery.rendering import decode, encode, picture_steps, transforms, vips  # noqa: PLC0415 - not before they are needed

    plan = layout(spec, *sides)
    output = PictureOutput(max(math.prod(plan.size), math.prod(plan.result)), spec.format)
    with source.open("rb") as file:
        facts = probe(file, replace(limits, output=output))
    stored, _ = decode.open_picture(source, facts.format, limits)
    region = _scaled_region(spec.rect, sides, transforms.upright_sides(stored))
    wide, high = reversed(plan.size) if spec.sideways else plan.size
    picture = decode.load_at_size(Size("picture", wide, high), stored, source, facts.format, region)
    del stored  # frees its memory
    with vips.translate_errors(RendererFailed):
        result = picture_steps.apply(picture, spec, plan)
        encode.write(result, target, spec.format, spec.quality)
        return RenderedPicture(result.width, result.height)


def _scaled_region(rect: Rect | None, sides: tuple[int, int], source: tuple[int, int]) -> Rect | None:
    """`rect` in the pixels of a source that may be smaller than the original."""
    if rect is None or source == sides:
        return rect
    across, down = source[0] / sides[0], source[1] / sides[1]
    x, y = round(rect.x * across), round(rect.y * down)
    return clip(Rect(x, y, max(1, round(rect.width * across)), max(1, round(rect.height * down))), *source)
