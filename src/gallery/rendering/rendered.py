"""The facts of a rendered picture."""

from dataclasses import dataclass

from gallery.rendering import exif
from gallery.rendering.probe import Format


@dataclass(frozen=True)
class Rendition:
    """One file, called `<name>.<format>`: sides in pixels, size in bytes."""

    name: str
    format: Format
    width: int
    height: int
    size: int


@dataclass(frozen=True)
class RenderedPicture:
    """The sides of a picture that was made on demand, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Rendered:
    """The result that the child process returns by pickle, while the pixels stay in files.

    The sides are those of the upright picture, `thumbhash` is base64, `color` is `#rrggbb`.
    """

    width: int
    height: int
    renditions: tuple[Rendition, ...]
    thumbhash: str
    color: str
    exif: exif.Exif
