"""Estimates the memory that rendering takes, by the picture's header, so that no renderer runs out of memory.

The numbers are those of libvips 8.18.7, libaom and libheif 1.23.6 as `bench/picture_memory.py` measures them, rounded
up. Decoders that work row by row take little; others hold all pixels, and libaom ten bytes more for each.
"""

from typing import NamedTuple

MAX_RENDITION_HEIGHT, MAX_AVIF_HEIGHT = 65_500, 16_383  # px
BASE_BYTES = 128 << 20  # the interpreter, the libraries, transparency and encoders
BYTES_PER_SIDE_PIXEL = 3 << 10  # for each pixel of the longer side: rows in work
BYTES_PER_RENDERED_PIXEL = 9.0  # the largest rendition, rotated and upright, and the smaller ones
BYTES_PER_AVIF_PIXEL = 48.0  # libaom's encoder, for the largest rendition with transparency
BYTES_PER_PICTURE_PIXEL = {"avif": 52.0, "webp": 25.0, "jpeg": 12.0, "png": 12.0}  # with transparency and all effects
FILE_COPIES = 2

SEQUENTIAL = 0.75  # bytes a pixel
GIF_BYTES_PER_PIXEL = 5.0
WEBP_BYTES_PER_PIXEL, ALPHA_WEBP_BYTES_PER_PIXEL = 13.0, 15.5


class Output(NamedTuple):
    """What is made of each picture: the width of the largest rendition, in pixels, and whether it is made as AVIF."""

    max_width: int = 1_920
    avif: bool = False

    def most_bytes(self, width: int, height: int) -> float:
        """For a picture of these sides, whether upright or rotated."""
        most = _rendered(width, height, self.max_width, MAX_RENDITION_HEIGHT) * BYTES_PER_RENDERED_PIXEL
        if self.avif:
            most += _rendered(width, height, self.max_width, MAX_AVIF_HEIGHT) * BYTES_PER_AVIF_PIXEL
        return most


class PictureOutput(NamedTuple):
    """One picture on demand, whose pixels are known; `format_name` is a key of `BYTES_PER_PICTURE_PIXEL`."""

    pixels: int
    format_name: str

    def most_bytes(self, width: int, height: int) -> float:  # noqa: ARG002 - the source's sides do not matter
        return self.pixels * BYTES_PER_PICTURE_PIXEL[self.format_name]


def estimate(width: int, height: int, bytes_per_pixel: float, file_size: int, output: Output | PictureOutput) -> int:
    """The most bytes for a picture of these sides, whether upright or rotated."""
    pixels = width * height * bytes_per_pixel + output.most_bytes(width, height)
    return BASE_BYTES + round(pixels) + max(width, height) * BYTES_PER_SIDE_PIXEL + FILE_COPIES * file_size


def _rendered(width: int, height: int, max_width: int, max_height: int) -> int:
    """The pixels of the largest rendition, whether the picture is upright or rotated."""
    short, long = sorted((width, height))
    wide = min(short, max_width)
    return wide * min(max(max_width, round(long * wide / short)), max_height)


def jpeg(samples: float, *, multi_scan: bool) -> float:
    """Bytes for a pixel of so many samples: a file of several scans is held as coefficients of two bytes."""
    return 2 * samples + 0.5 if multi_scan else SEQUENTIAL


def png(pixel_bytes: int, *, interlaced: bool) -> float:
    """Bytes for a pixel of `pixel_bytes` bytes unpacked."""
    return pixel_bytes + 1.0 if interlaced else 0.5 * pixel_bytes + 0.5


def heic(*, high_bit_depth: bool, full_chroma: bool, alpha: bool) -> float:
    """Bytes for a pixel; `high_bit_depth` means more than 8 bits a sample, `full_chroma` colours in full resolution."""
    if full_chroma:
        return (16.0 if high_bit_depth else 10.0) + (4.5 if alpha else 0)
    return (8.0 if high_bit_depth else 5.0) + (4.5 if alpha else 0)


def avif(*, high_bit_depth: bool, full_chroma: bool, alpha: bool) -> float:
    if full_chroma:
        return (25.5 if high_bit_depth else 19.0) + (1 if alpha else 0)
    return (19.0 if high_bit_depth else 16.0) + (2.5 if alpha else 0)
