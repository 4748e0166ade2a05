"""Thumbhashes from the reference implementation: `thumbhash` 0.1.1 for JavaScript, by Evan Wallace.

`rendering/thumbhash.json` holds the results of its `rgbaToThumbHash` and `thumbHashToRGBA` for the pictures below.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Vector:
    """A picture, its thumbhash, and the RGBA pixels decoded from that."""

    width: int
    height: int
    hole: bool
    hashed: bytes
    decoded: tuple[int, int, bytes]

    @property
    def pixels(self) -> bytes:
        return bytes(
            band
            for y in range(self.height)
            for x in range(self.width)
            for band in (*self._color(x, y), self._alpha(x, y))
        )

    def _color(self, x: int, y: int) -> tuple[int, int, int]:
        w, h = self.width, self.height
        return (
            255 * x * x * (y + 1) // (w * w * h),
            255 * y * (x + 2) // (h * (w + 2)),
            255 * (w - x) * (h - y) * (x + 1) // (w * w * h),
        )

    def _alpha(self, x: int, y: int) -> int:
        in_hole = 3 * x * y < self.width * self.height and x < 2 * y + 2
        return 2 * x if self.hole and in_hole else 255

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" + "-hole" * self.hole


def _vector(width: int, height: int, hole: bool, hash: str, decoded: dict[str, Any]) -> Vector:  # noqa: A002 - its key
    pixels = base64.b64decode(decoded["pixels"])
    return Vector(width, height, hole, base64.b64decode(hash), (decoded["width"], decoded["height"], pixels))


VECTORS = [_vector(**each) for each in json.loads((Path(__file__).parent / "rendering/thumbhash.json").read_text())]


def average(hashed: bytes) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 255."""
    header = int.from_bytes(hashed[:3], "little")
    luminance, yellow_blue, red_green = (
        (header & 63) / 63,
        (header >> 6 & 63) / 31.5 - 1,
        (header >> 12 & 63) / 31.5 - 1,
    )
    blue = luminance - 2 / 3 * yellow_blue
    red = (3 * luminance - blue + red_green) / 2
    return red * 255, (red - red_green) * 255, blue * 255


def ratio(hashed: bytes) -> float:
    """Approximately width to height."""
    longer, shorter = 5 if hashed[2] & 0x80 else 7, hashed[3] & 7
    return longer / shorter if hashed[4] & 0x80 else shorter / longer
