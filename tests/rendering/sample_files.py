"""Pictures of every kind that browsers distinguish: format, depth, channels, alpha, colours, range and orientation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rendering import isobmff_samples, raster_samples
from rendering.pairs import Row, pairwise

HDR = ("pq", "hlg", "p3-pq", "pq of 4000 nits", "pq of 400 nits")


@dataclass(frozen=True)
class SampleFile:
    """`reference` is a file that a browser can draw and that shows the same; mostly `file` itself."""

    name: str
    file: bytes
    reference: bytes
    mime: str
    hdr: bool


@dataclass(frozen=True)
class SampleMaker:
    """`reference` makes the file that the browser draws instead, for a file that it draws differently."""

    factors: Mapping[str, Sequence[Any]]
    make: Callable[..., bytes]
    allowed: Callable[[Row], bool] = lambda row: True
    make_reference: Callable[[bytes, Row], bytes | None] = lambda file, row: None


MAKERS = {
    "jpeg": SampleMaker(raster_samples.JPEG, raster_samples.jpeg, make_reference=raster_samples.cmyk_reference),
    "png": SampleMaker(raster_samples.PNG, raster_samples.png, raster_samples.png_allowed),
    "webp": SampleMaker(raster_samples.WEBP, raster_samples.webp),
    "gif": SampleMaker(raster_samples.GIF, raster_samples.gif),
    "avif": SampleMaker(
        isobmff_samples.AVIF, isobmff_samples.avif, isobmff_samples.avif_allowed, isobmff_samples.avif_reference
    ),
    "heic": SampleMaker(
        isobmff_samples.HEIC, isobmff_samples.heic, isobmff_samples.heic_allowed, isobmff_samples.heic_reference
    ),
}


def generate(format_name: str) -> Iterator[SampleFile]:
    """Files in which every two properties of the format are together at least once."""
    maker = MAKERS[format_name]
    for row in pairwise(maker.factors, maker.allowed):
        file = maker.make(**row)
        other = maker.make_reference(file, row)
        name = " ".join([format_name, *(f"{key}={value}" for key, value in row.items())])
        mime = "image/png" if other else f"image/{format_name}"
        yield SampleFile(name, file, other or file, mime, row.get("colors") in HDR)
