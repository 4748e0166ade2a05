"""The renditions of a picture: their sizes, formats and qualities. Loads no libvips, so any process may import it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import NamedTuple

from gallery.rendering.probe import Format, Limits

REVISION = 2  # raise it when the code makes different pixels from the same numbers
FORMATS = (Format.AVIF, Format.WEBP, Format.JPEG)  # that a recipe may have, the best first
ENCODERS: Mapping[Format, Mapping[str, str | int]] = {  # libvips' options: decision 0123
    Format.AVIF: {"effort": 0, "compression": "av1", "encoder": "aom"},
    Format.WEBP: {"effort": 2},
    Format.JPEG: {},
    Format.PNG: {"filter": "all"},
}
MAX_SIDES = {  # px: the limits of libwebp and libjpeg; AVIF's of 16,384 would be a size of its own
    Format.AVIF: 16_383,
    Format.WEBP: 16_383,
    Format.JPEG: 65_500,
}


class Size(NamedTuple):
    """A rendition's name is its nominal width; its own width is smaller when the picture is."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Recipe:
    """Widths are nominal, in pixels, ascending; formats have the order of `FORMATS`.

    JPEG is plain: at 1920 px, optimised coding takes 2.5 times as long for 1 % fewer bytes, progressive 5 times as long
    for 4 %.
    """

    widths: tuple[int, ...] = (320, 960, 1920)
    formats: tuple[Format, ...] = (Format.WEBP, Format.JPEG)
    avif_quality: int = 63  # which looks like WebP at 80: decision 0123
    webp_quality: int = 80
    jpeg_quality: int = 82
    limits: Limits = field(default_factory=Limits)

    @cached_property  # it reads the installed packages' files
    def version(self) -> str:
        """Eight hex digits that change whenever the same picture would get other renditions.

        The settings of a format without renditions do not count.
        """
        return self._digest(self.widths, self.formats)

    @cached_property
    def pictures_version(self) -> str:
        """As `version`, for pictures on demand: all formats count, the renditions' widths do not."""
        return self._digest((), FORMATS)

    def _digest(self, widths: tuple[int, ...], formats: tuple[Format, ...]) -> str:
        encoders = [(str(kind), self.quality(kind), sorted(ENCODERS[kind].items())) for kind in formats]
        parts = f"{(REVISION, widths, encoders)} libvips {version('pyvips-binary')}"
        return hashlib.sha256(parts.encode()).hexdigest()[:8]

    def quality(self, kind: Format) -> int:
        """From 1 to 100, for a lossy format; 100 for any other."""
        lossy = {Format.AVIF: self.avif_quality, Format.WEBP: self.webp_quality, Format.JPEG: self.jpeg_quality}
        return lossy.get(kind, 100)

    def includes(self, files: Iterable[tuple[str, Format]]) -> bool:
        """Whether each pair is the name and the format of a rendition of this recipe, so that it can name a file."""
        names = {str(nominal) for nominal in self.widths}
        return all(name in names and kind in self.formats for name, kind in files)

    def sizes(self, width: int, height: int, kind: Format) -> list[Size]:
        """The renditions of an upright picture in this format, the smallest first; never larger than the picture.

        The first nominal width that the picture does not exceed is made at the picture's own width, larger ones are not
        made. A picture whose longer side exceeds the format's limit is scaled to fit.
        """
        max_side = MAX_SIDES[kind]
        own = min(width, max_side, max(1, round(max_side * width / height)))
        smaller = sum(nominal < own for nominal in self.widths)
        widths = [(nominal, min(nominal, own)) for nominal in self.widths[: smaller + 1]]
        return [Size(str(nominal), wide, _height(width, height, wide, max_side)) for nominal, wide in widths]

    def all_sizes(self, width: int, height: int) -> dict[Size, list[Format]]:
        """Each size of an upright picture's renditions, the smallest first, with its formats."""
        formats: dict[Size, list[Format]] = {}
        for kind in self.formats:
            for size in self.sizes(width, height, kind):
                formats.setdefault(size, []).append(kind)
        return dict(sorted(formats.items(), key=lambda item: item[0].width * item[0].height))


def _height(width: int, height: int, wide: int, max_side: int) -> int:
    return min(max_side, max(1, round(height * wide / width)))
