"""AVIF and HEIC of every kind that browsers distinguish, with references where a browser draws them differently."""

import io
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

import photos
from isobmff_writer import icc, light_level, nclx, with_property
from rendering.pairs import Row
from rendering.samples import (
    CODE_POINTS,
    HEIGHT,
    P3_PROFILE,
    WIDTH,
    as_pillow,
    as_vips,
    icc_profile,
    png_chunks,
    saved,
    values,
)

# --- AVIF ---------------------------------------------------------------------------------------------------------

AVIF = {
    "channels": ("L", "LA", "RGB", "RGBA", "premultiplied"),
    "depth": (8, 10, 12),
    "range": ("full", "limited"),
    "colors": ("untold", *CODE_POINTS, "pq of 400 nits", "profile p3"),
    "orientation": (1, 6, 7),
}


def avif_allowed(row: Row) -> bool:
    """More than 8 bits come from an encoder that writes neither gray nor a limited range."""
    plain = row["channels"] in {"RGB", "RGBA"} and row["range"] == "full" and row["orientation"] == 1
    return row["depth"] == 8 or plain


def avif(channels: str, depth: int, range: str, colors: str, orientation: int) -> bytes:  # noqa: A002
    file = _of_8_bits(channels, range, orientation) if depth == 8 else _deep(channels, depth)
    match colors.split():
        case ["untold"]:
            return file.replace(b"colrnclx", b"freenclx")  # the range is in the pixels' own header
        case ["profile", name]:
            return with_property(file, icc(icc_profile(name) or b""))
        case ["pq", "of", nits, _]:
            colr = nclx(9, 16, full=range == "full")
            return with_property(with_property(file, colr), light_level(int(nits)))
        case _:
            return with_property(file, nclx(*CODE_POINTS[colors], full=range == "full"))


def _of_8_bits(channels: str, range_name: str, orientation: int) -> bytes:
    mode = "RGBA" if channels == "premultiplied" else channels
    exif = photos.an_exif({}, orientation=orientation)
    more: dict[str, Any] = {"alpha_premultiplied": True} if channels == "premultiplied" else {}
    if mode.startswith("RGB"):
        more["subsampling"] = "4:4:4"  # with it, gray would have planes of colour
    return saved(as_pillow(mode), "AVIF", quality=95, range=range_name, exif=exif, **more)


def _deep(channels: str, depth: int) -> bytes:
    image = as_vips(values(channels), deep=True)
    return bytes(image.heifsave_buffer(compression="av1", bitdepth=depth, Q=95, subsample_mode="off", effort=0))


def avif_reference(file: bytes, row: Row) -> bytes | None:
    """By libavif where there is alpha: Chromium 156 takes full-range alpha for limited, so 64 is 56 and 197 is 211."""
    if row["channels"] in {"L", "RGB"}:
        return None
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    return _png_of(np.asarray(picture.convert("RGBA")) / 255, row["colors"])


# --- HEIC ---------------------------------------------------------------------------------------------------------

HEIC = {
    "channels": ("L", "RGB", "RGBA", "RGBa"),
    "depth": (8, 10),
    "colors": ("untold", *CODE_POINTS, "profile p3"),
}


def heic_allowed(row: Row) -> bool:
    return row["depth"] == 8 or row["channels"] in {"RGB", "RGBA"}


def heic(channels: str, depth: int, colors: str) -> bytes:
    pixels = values(channels.upper())
    if channels == "RGBa":
        pixels[..., :3] *= pixels[..., 3:]
    deep = depth > 8
    raw = np.rint(pixels * (65_535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
    heif = pillow_heif.from_bytes(channels + (";16" if deep else ""), (WIDTH, HEIGHT), raw.tobytes())
    out = io.BytesIO()
    heif.save(out, quality=95, chroma=444)
    if colors.startswith("profile"):
        return with_property(out.getvalue(), icc(P3_PROFILE))
    return out.getvalue() if colors == "untold" else with_property(out.getvalue(), nclx(*CODE_POINTS[colors]))


def heic_reference(file: bytes, row: Row) -> bytes:
    """By libheif: no browser here shows HEIC."""
    heif = pillow_heif.open_heif(io.BytesIO(file), convert_hdr_to_8bit=False)
    mode, _, deep = heif.mode.partition(";")
    raw = np.frombuffer(heif.data, np.uint16 if deep else np.uint8).reshape(HEIGHT, WIDTH, -1)
    pixels = raw / (65_535 if deep else 255)
    if mode == "RGBa":
        pixels[..., :3] = np.clip(pixels[..., :3] / np.maximum(pixels[..., 3:], 1e-6), 0, 1)
    return _png_of(pixels, row["colors"])


def _png_of(pixels: np.ndarray, colors: str) -> bytes:
    """The same values and colours as PNG; the transfer function of TV is sRGB's, as browsers take it in AVIF."""
    colr = {"untold": "none", "tv": "none", "ntsc": "ntsc srgb", "bt2020": "bt2020 srgb"}.get(colors, colors)
    file = bytes(as_vips(pixels, deep=True).pngsave_buffer(compression=1))
    return file[:33] + b"".join(png_chunks(colr)) + file[33:]
