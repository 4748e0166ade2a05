"""The settings of how pictures are made: the renditions of every image, pictures on demand, and their presets."""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Annotated

from msgspec import Meta, Struct

from gallery.settings.branches import MIB, Count, Seconds

PRESETS_PREFIX = "GALLERY_PRESETS__"
PRESET_NAME = re.compile(r"[a-z0-9_-]{1,64}")
MIN_WIDTH, MAX_WIDTH = 16, 8192  # px
MAX_WIDTHS = 12
RENDITION_FORMATS = ("avif", "webp", "jpeg")
PICTURE_FORMATS = ("avif", "webp", "jpeg", "png")
Quality = Annotated[int, Meta(ge=1, le=100)]


class RenditionsSettings(Struct, frozen=True):
    widths: Annotated[
        str, Meta(description="The widths of every image's renditions, in pixels, ascending, with commas")
    ] = "320,960,1920"
    formats: Annotated[str, Meta(description="Their formats: `avif`, `webp`, `jpeg`, with commas")] = "webp,jpeg"
    quality_avif: Annotated[Quality, Meta(description="The quality of AVIF, in renditions and pictures on demand")] = 63
    quality_webp: Annotated[Quality, Meta(description="The quality of WebP, in the same places")] = 80
    quality_jpeg: Annotated[Quality, Meta(description="The quality of JPEG, in the same places")] = 82


class PicturesSettings(Struct, frozen=True):
    formats: Annotated[
        str, Meta(description="Formats that may be asked for: `avif`, `webp`, `jpeg`, `png`, with commas")
    ] = "avif,webp,jpeg,png"
    anonymous: Annotated[
        str,
        Meta(
            pattern="^(presets|any|none)$",
            description="Pictures that anonymous callers may ask for, of public images: presets, any, none",
        ),
    ] = "presets"
    budget: Annotated[Seconds, Meta(description="Rendering for one caller in a minute, in seconds")] = 20
    concurrency: Annotated[Count, Meta(description="Pictures that one API process renders at once")] = 1
    queue: Annotated[Count, Meta(description="Pictures that may wait for a renderer in one API process")] = 32
    deadline: Annotated[Seconds, Meta(description="Longest time to render one picture, in seconds")] = 20
    memory: Annotated[int, Meta(ge=256 * MIB, description="The most memory of one renderer, in bytes")] = 2560 * MIB
    max_per_image: Annotated[Count, Meta(description="Pictures that are kept of one image")] = 200
    max_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="The total size of kept pictures, in bytes; the longest unused are deleted first; 0 keeps none",
        ),
    ] = 10 * 1024 * MIB


def parse_widths(text: str) -> tuple[int, ...]:
    """The widths of a comma list. Raises `ValueError`."""
    words = [word.strip() for word in text.split(",")]
    widths = tuple(int(word) if re.fullmatch("[0-9]{1,5}", word) else 0 for word in words)
    if not all(MIN_WIDTH <= width <= MAX_WIDTH for width in widths) or len(widths) > MAX_WIDTHS:
        raise ValueError(f"Expected up to {MAX_WIDTHS} widths from {MIN_WIDTH} to {MAX_WIDTH}, separated by commas")
    if not all(a < b for a, b in pairwise(widths)):
        raise ValueError("Expected ascending widths")
    return widths


def parse_rendition_formats(text: str) -> tuple[str, ...]:
    """The formats of a comma list, the best first. Raises `ValueError`."""
    return _parse_formats(text, RENDITION_FORMATS)


def parse_picture_formats(text: str) -> tuple[str, ...]:
    """As `parse_rendition_formats`, for pictures on demand."""
    return _parse_formats(text, PICTURE_FORMATS)


def _parse_formats(text: str, known: Collection[str]) -> tuple[str, ...]:
    words = {word.strip().lower() for word in text.split(",") if word.strip()}
    if not words or words - set(known):
        raise ValueError(f"Expected one or more of {', '.join(known)}, separated by commas")
    return tuple(name for name in known if name in words)


def find_presets(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The variable, the name and the text of each preset, by name; an empty one counts as not set."""
    found = [(name, text) for name, text in environment.items() if name.startswith(PRESETS_PREFIX) and text]
    yield from sorted((variable, variable.removeprefix(PRESETS_PREFIX).lower(), text) for variable, text in found)


def check_preset_name(name: str, taken: Collection[str]) -> None:
    """Raises `ValueError`."""
    if not PRESET_NAME.fullmatch(name):
        raise ValueError("Expected a name of up to 64 letters a–z, digits, _ and - after GALLERY_PRESETS__")
    if name in taken:
        raise ValueError(f"Expected one variable for the preset {name}; upper and lower case are the same")
