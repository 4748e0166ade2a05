"""One picture in encoded values of any colour space, and the metadata that names the space."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyvips
from PIL import Image

WIDTH, HEIGHT = 96, 64
P3_PROFILE = bytes(pyvips.Operation.call("profile_load", "p3"))
CMYK_PROFILE = bytes(pyvips.Operation.call("profile_load", "cmyk"))
CODE_POINTS = {
    "srgb": (1, 13),
    "tv": (1, 1),
    "p3": (12, 13),
    "ntsc": (6, 6),
    "bt2020": (9, 14),
    "linear": (9, 8),
    "pq": (9, 16),
    "hlg": (9, 18),
    "p3-pq": (12, 16),
}

# --- the picture --------------------------------------------------------------------------------------------------


def values(channels: str) -> np.ndarray:
    """Encoded values from 0 to 1; channels are some of L, RGB, CMYK and A. Shape: height, width, channels."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    hue = np.stack([np.clip(np.abs((x * 6 + shift) % 6 - 3) - 1, 0, 1) for shift in (0, 4, 2)], axis=-1)
    colors = 1 - np.clip(y * 1.4, 0, 1)[..., None] * (1 - hue)
    ramp = np.clip((y - 0.75) * 16, 0, 1)[..., None]
    rgb = colors * (1 - ramp) + x[..., None] * ramp
    planes = {"RGB": rgb, "L": rgb @ (0.3, 0.59, 0.11), "CMYK": np.dstack([1 - rgb, 0.3 * y])}[channels.rstrip("A")]
    alpha = [0.25 + 0.75 * np.clip(x * 1.5 - 0.25, 0, 1)] if channels.endswith("A") else []
    return np.dstack([planes, *alpha])


def patches(channels: str) -> np.ndarray:
    """The same in 24 flat patches of 32 px, for files of few colours: renditions blur what is finer."""
    return values(channels)[8::16, 8::16].repeat(32, axis=0).repeat(32, axis=1)


def as_vips(pixels: np.ndarray, *, deep: bool) -> pyvips.Image:
    top = 65_535 if deep else 255
    array = np.ascontiguousarray(np.rint(pixels * top).astype(np.uint16 if deep else np.uint8))
    meaning = ("grey16" if deep else "b-w") if array.shape[2] < 3 else ("rgb16" if deep else "srgb")
    height, width, bands = array.shape
    image = pyvips.Image.new_from_memory(array.tobytes(), width, height, bands, "ushort" if deep else "uchar")
    return image.copy(interpretation=meaning)


def as_pillow(channels: str, source: Callable[[str], np.ndarray] = values) -> Image.Image:
    array = np.rint(source(channels) * 255).astype(np.uint8)
    return Image.fromarray(array.squeeze(), channels)


def saved(picture: Image.Image, format_name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, format_name, **options)
    return out.getvalue()


# --- profiles -----------------------------------------------------------------------------------------------------


def icc_profile(name: str) -> bytes | None:
    return {
        "none": None,
        "p3": P3_PROFILE,
        "swapped": P3_PROFILE.replace(b"rXYZ", b"temp").replace(b"gXYZ", b"rXYZ").replace(b"temp", b"gXYZ"),
        "linear": _with_curve(b"curv" + bytes(8)),
        "press": CMYK_PROFILE,
        "unlinkable": _with_curve(b"none" + bytes(8)),
        "cut": P3_PROFILE[:300],
        "cut press": CMYK_PROFILE[:300],
    }[name]


def _with_curve(curve: bytes) -> bytes:
    """Display P3 with another curve; its three colours share one."""
    tag = P3_PROFILE.index(b"rTRC", 128 + 4)
    at = int.from_bytes(P3_PROFILE[tag + 4 : tag + 8])
    return P3_PROFILE[:at] + curve + P3_PROFILE[at + len(curve) :]


# --- PNG's chunks ---------------------------------------------------------------------------------------------------


def png_chunks(colors: str) -> Iterator[bytes]:
    srgb = _chunk(b"sRGB", b"\0")
    match colors.split():
        case ["srgb", "chunk"]:
            yield srgb + _gamma(1.0)
        case ["gamma", number] if number != "and":
            yield _gamma(float(number))
        case ["gamma", "and", _]:
            yield _gamma(2.2) + _primaries(0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
        case ["broken", _]:
            yield _gamma(1.0) + _primaries(0, 0, 0, 0, 0, 0)
        case ["profile", name, "and", _]:
            yield _chunk(b"cICP", bytes([1, 13, 0, 1])) + _iccp(name)
        case ["profile", name]:
            yield _iccp(name)
        case ["pq", "of", nits, _]:
            yield _chunk(b"cICP", bytes([9, 16, 0, 1])) + _chunk(
                b"cLLI", struct.pack(">II", int(nits) * 10_000, 10_000)
            )
        case [name, "srgb"] if name in CODE_POINTS:
            yield _chunk(b"cICP", bytes([CODE_POINTS[name][0], 13, 0, 1]))
        case [name] if name in CODE_POINTS:
            yield _chunk(b"cICP", bytes([*CODE_POINTS[name], 0, 1]))


def _iccp(name: str) -> bytes:
    return _chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc_profile(name) or b""))


def _gamma(value: float) -> bytes:
    return _chunk(b"gAMA", struct.pack(">I", round(100_000 / value)))


def _primaries(*corners: float) -> bytes:
    return _chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * each) for each in (0.3127, 0.329, *corners))))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
