"""Pictures of every kind that a browser tells apart: format, depth, channels, alpha, colours, range and orientation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rendering import box_kinds, plain_kinds
from rendering.pairs import Row, pairwise

HDR = ("pq", "hlg", "p3-pq", "pq of 4000 nits", "pq of 400 nits")


@dataclass(frozen=True)
class Kind:
    """`shown` is a file that a browser can draw and that shows the same; mostly `file` itself."""

    name: str
    file: bytes
    shown: bytes
    mime: str
    hdr: bool


@dataclass(frozen=True)
class Maker:
    """`shown` makes the file that is drawn in place of one that the browser draws otherwise, or nothing."""

    factors: Mapping[str, Sequence[Any]]
    make: Callable[..., bytes]
    allowed: Callable[[Row], bool] = lambda row: True
    shown: Callable[[bytes, Row], bytes | None] = lambda file, row: None


MAKERS = {
    "jpeg": Maker(plain_kinds.JPEG, plain_kinds.jpeg, shown=plain_kinds.press_shown),
    "png": Maker(plain_kinds.PNG, plain_kinds.png, plain_kinds.png_allowed),
    "webp": Maker(plain_kinds.WEBP, plain_kinds.webp),
    "gif": Maker(plain_kinds.GIF, plain_kinds.gif),
    "avif": Maker(box_kinds.AVIF, box_kinds.avif, box_kinds.avif_allowed, box_kinds.avif_shown),
    "heic": Maker(box_kinds.HEIC, box_kinds.heic, box_kinds.heic_allowed, box_kinds.heic_shown),
}


def of(format_name: str) -> Iterator[Kind]:
    """Files in which every two properties of the format are together at least once."""
    maker = MAKERS[format_name]
    for row in pairwise(maker.factors, maker.allowed):
        file = maker.make(**row)
        other = maker.shown(file, row)
        name = " ".join([format_name, *(f"{key}={value}" for key, value in row.items())])
        mime = "image/png" if other else f"image/{format_name}"
        yield Kind(name, file, other or file, mime, row.get("colors") in HDR)
