"""Finds the format and size of an uploaded file by its content, in the API's process: headers only, no C decoder.

File names and declared types are ignored. Every read and every loop is bounded. The renderer checks the header's
claims again before it decodes.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO

from gallery.errors import NotAPicture, SideTooLong, TooManyPixels, TooMuchMemory
from gallery.rendering import file_headers, isobmff, memory
from gallery.rendering.file_headers import Header
from gallery.rendering.memory import Output, PictureOutput

SIGNATURE_BYTES = 12
MAX_JPEG_SIDE = 65_500  # px; the limit of libjpeg and of browsers


class Format(StrEnum):
    JPEG = "jpeg"
    PNG = "png"
    GIF = "gif"
    WEBP = "webp"
    AVIF = "avif"
    HEIC = "heic"

    @property
    def mime_type(self) -> str:
        return f"image/{self}"


@dataclass(frozen=True)
class Limits:
    """`max_side` is in pixels, `memory` in bytes for one renderer, which makes `output` of a picture."""

    max_pixels: int = 200_000_000
    max_side: int = 65_535
    memory: int = 2_560 << 20
    output: Output | PictureOutput = field(default_factory=Output)

    def check(self, width: int, height: int) -> None:
        """Raises `TooManyPixels` or `SideTooLong`."""
        if width * height > self.max_pixels:
            raise TooManyPixels(pixels=width * height, width=width, height=height, limit=self.max_pixels)
        if max(width, height) > self.max_side:
            set_by = f"GALLERY_UPLOAD__MAX_SIDE={self.max_side}"
            raise SideTooLong(width=width, height=height, limit=self.max_side, set_by=set_by)


@dataclass(frozen=True)
class ProbeResult:
    """The claims of the header: sides in pixels as stored, before any orientation is applied."""

    format: Format
    width: int
    height: int
    animated: bool

    @property
    def mime_type(self) -> str:
        return self.format.mime_type


def probe(file: BinaryIO, limits: Limits) -> ProbeResult:
    """The format and size of the seekable `file`, whose position is 0 again afterwards.

    Raises `NotAPicture` (unsupported format, or no sides found), `TooManyPixels`, `SideTooLong` or `TooMuchMemory`.
    """
    try:
        kind, header = _identify(file)
        size = file.seek(0, os.SEEK_END)
    finally:
        file.seek(0)
    if header.width < 1 or header.height < 1:
        raise NotAPicture(format=kind, width=header.width, height=header.height)
    limits.check(header.width, header.height)
    if kind is Format.JPEG and max(header.width, header.height) > MAX_JPEG_SIDE:
        raise SideTooLong(
            width=header.width, height=header.height, limit=MAX_JPEG_SIDE, set_by="decoders read no longer JPEGs"
        )
    needed = memory.estimate(header.width, header.height, header.bytes_per_pixel, size, limits.output)
    if needed > limits.memory:
        raise TooMuchMemory(needed=needed, limit=limits.memory, width=header.width, height=header.height, format=kind)
    return ProbeResult(kind, header.width, header.height, header.animated)


def sniff(begin: bytes) -> Format:
    """The format of a file by its first `SIGNATURE_BYTES`; a HEIC of a generic brand (ISO 23008-12) looks like an AVIF.

    Raises `NotAPicture`.
    """
    magic = begin[:SIGNATURE_BYTES]
    for kind, signature in SIGNATURES:
        if magic.startswith(signature):
            return kind
    if magic[:4] == b"RIFF" and magic[8:] == b"WEBP":
        return Format.WEBP
    if magic[4:8] == b"ftyp":
        return Format.HEIC if magic[8:12] in isobmff.HEIC_BRANDS else Format.AVIF
    raise NotAPicture(begins=magic.hex())


def _identify(file: BinaryIO) -> tuple[Format, Header]:
    file.seek(0)
    kind = sniff(file.read(SIGNATURE_BYTES))
    if kind in (Format.AVIF, Format.HEIC):
        codec, header = isobmff.read_header(file)
        return Format(codec), header
    return kind, READERS[kind](file)


SIGNATURES = (
    (Format.JPEG, b"\xff\xd8\xff"),
    (Format.PNG, b"\x89PNG\r\n\x1a\n"),
    (Format.GIF, b"GIF87a"),
    (Format.GIF, b"GIF89a"),
)
READERS: dict[Format, Callable[[BinaryIO], Header]] = {
    Format.JPEG: file_headers.jpeg,
    Format.PNG: file_headers.png,
    Format.GIF: file_headers.gif,
    Format.WEBP: file_headers.webp,
}
