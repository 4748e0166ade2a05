"""How much memory rendering a picture takes, by what its header says; so that no renderer has to die of it.

The numbers are those of libvips 8.18.7, libaom and libheif 1.23.6 as `bench/picture_memory.py` measures them, rounded
up. Decoders that give row by row take little; others hold all pixels, and libaom ten bytes more for each.
"""

WIDEST = 1_920  # px, of a rendition
TALLEST = 65_500  # px, of a rendition
BASE = 128 << 20  # bytes: the interpreter, the libraries, and what transparency and encoders need
PER_SIDE = 3 << 10  # bytes for each pixel of the longer side: rows on their way
PER_RENDERED_PIXEL = 9.0  # bytes: the largest rendition, turned and upright, and those that are made of it
COPIES = 2  # of the file

ROW_BY_ROW = 0.75  # bytes a pixel
GIF = 5.0
WEBP, ALPHA_WEBP = 13.0, 15.5


def needed(width: int, height: int, per_pixel: float, file_size: int) -> int:
    """Bytes, at most, for a picture of these sides, whichever of them turns out to be its height."""
    short, long = sorted((width, height))
    wide = min(short, WIDEST)
    rendered = wide * min(max(WIDEST, round(long * wide / short)), TALLEST)
    pixels = width * height * per_pixel + rendered * PER_RENDERED_PIXEL
    return BASE + round(pixels) + long * PER_SIDE + COPIES * file_size


def jpeg(samples: float, *, in_scans: bool) -> float:
    """Bytes for a pixel of so many samples: whatever comes in several scans is held as coefficients of two bytes."""
    return 2 * samples + 0.5 if in_scans else ROW_BY_ROW


def png(pixel_bytes: int, *, interlaced: bool) -> float:
    """Bytes for a pixel that takes so many when it is unpacked."""
    return pixel_bytes + 1.0 if interlaced else 0.5 * pixel_bytes + 0.5


def heic(*, deep: bool, fine: bool, alpha: bool) -> float:
    """Bytes for a pixel of more than 8 bits a sample (`deep`), with colours in full resolution (`fine`)."""
    if fine:
        return (16.0 if deep else 10.0) + (4.5 if alpha else 0)
    return (8.0 if deep else 5.0) + (4.5 if alpha else 0)


def avif(*, deep: bool, fine: bool, alpha: bool) -> float:
    if fine:
        return (25.5 if deep else 19.0) + (1 if alpha else 0)
    return (19.0 if deep else 16.0) + (2.5 if alpha else 0)
