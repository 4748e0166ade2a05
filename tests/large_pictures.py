"""Large pictures of one colour, small as files: one for each kind with its own memory use in rendering."""

import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pyvips
from PIL import Image

COLOURS = (60, 120, 180, 240)
FOLDER = Path(__file__).parent / "rendering" / "large"  # 12000 × 9000 px; each takes about ten seconds to encode


def flat(width: int, height: int, bands: int = 3, *, high_depth: bool = False, cmyk: bool = False) -> pyvips.Image:
    picture = pyvips.Image.black(width, height, bands=bands) + COLOURS[:bands]
    pixels = (picture * 257).cast("ushort") if high_depth else picture.cast("uchar")
    return pixels.copy(interpretation="cmyk" if cmyk else "rgb16" if high_depth else "srgb")


def a_jpeg(
    width: int, height: int, *, progressive: bool = False, full_chroma: bool = False, cmyk: bool = False
) -> bytes:
    """With `full_chroma`, colours have the full resolution."""
    picture = flat(width, height, 4 if cmyk else 3, cmyk=cmyk)
    return bytes(picture.jpegsave_buffer(Q=75, interlace=progressive, subsample_mode="off" if full_chroma else "on"))


def a_png(width: int, height: int, bands: int = 3, *, high_depth: bool = False, interlaced: bool = False) -> bytes:
    return bytes(flat(width, height, bands, high_depth=high_depth).pngsave_buffer(compression=1, interlace=interlaced))


def a_gif(width: int, height: int, **options: int) -> bytes:
    out = io.BytesIO()
    Image.new("P", (width, height), 3).save(out, "GIF", **options)
    return out.getvalue()


def a_webp(width: int, height: int, bands: int = 3, *, lossless: bool = False) -> bytes:
    return bytes(flat(width, height, bands).webpsave_buffer(effort=0, lossless=lossless))


def an_avif(width: int, height: int, bands: int = 3, *, depth: int = 8, full_chroma: bool = False) -> bytes:
    picture = flat(width, height, bands, high_depth=depth > 8)
    options = {"compression": "av1", "effort": 0, "bitdepth": depth, "subsample_mode": "off" if full_chroma else "on"}
    return bytes(picture.heifsave_buffer(**options))


def read_stored(name: str) -> bytes:
    """A stored picture of 108 megapixels."""
    file = (FOLDER / name).read_bytes()
    return lzma.decompress(file) if name.endswith(".xz") else file


KINDS: dict[str, Callable[[int, int], bytes]] = {
    "jpeg": a_jpeg,
    "jpeg progressive": lambda w, h: a_jpeg(w, h, progressive=True),
    "jpeg progressive 4:4:4": lambda w, h: a_jpeg(w, h, progressive=True, full_chroma=True),
    "jpeg cmyk": lambda w, h: a_jpeg(w, h, cmyk=True),
    "jpeg cmyk progressive": lambda w, h: a_jpeg(w, h, progressive=True, full_chroma=True, cmyk=True),
    "png": a_png,
    "png alpha": lambda w, h: a_png(w, h, 4),
    "png interlaced": lambda w, h: a_png(w, h, interlaced=True),
    "png 16-bit alpha": lambda w, h: a_png(w, h, 4, high_depth=True),
    "png 16-bit alpha interlaced": lambda w, h: a_png(w, h, 4, high_depth=True, interlaced=True),
    "gif": a_gif,
    "gif transparent": lambda w, h: a_gif(w, h, transparency=3),
    "webp": a_webp,
    "webp alpha": lambda w, h: a_webp(w, h, 4),
    "webp lossless": lambda w, h: a_webp(w, h, lossless=True),
    "webp lossless alpha": lambda w, h: a_webp(w, h, 4, lossless=True),
    "avif": an_avif,
    "avif alpha": lambda w, h: an_avif(w, h, 4),
    "avif 4:4:4": lambda w, h: an_avif(w, h, full_chroma=True),
    "avif 10-bit": lambda w, h: an_avif(w, h, depth=10),
    "avif 10-bit alpha": lambda w, h: an_avif(w, h, 4, depth=10),
    "avif 10-bit 4:4:4": lambda w, h: an_avif(w, h, depth=10, full_chroma=True),
}
