"""Colour spaces given by numbers instead of an ICC profile: a transfer function and primaries.

AVIF, HEIC and PNG give them as code points of ITU-T H.273 (CICP, tables 2 and 3), older PNGs as gAMA and cHRM. Unknown
and reserved code points are ignored, as in browsers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, TypeAlias

REFERENCE_WHITE_NITS = 203.0  # a white page in HDR: ITU-R BT.2408
DEFAULT_PEAK_NITS = 1_000.0  # of HDR content without a peak in its metadata
MAX_PEAK_NITS = 10_000.0  # the highest value of PQ


class Curve(NamedTuple):
    """Light of an encoded value x, both 0 to 1: (a·x + b)^gamma from d on, c·x below."""

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


class Hdr(StrEnum):
    """The two transfer functions of ITU-R BT.2100."""

    PQ = "pq"
    HLG = "hlg"


Transfer: TypeAlias = Curve | Hdr
SRGB = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT1886 = Curve(2.4)


class Primaries(NamedTuple):
    """Chromaticities x and y of red, green, blue and white."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float] = (0.3127, 0.3290)  # D65


BT709 = Primaries((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
BT2020 = Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
ILLUMINANT_C = (0.310, 0.316)

PRIMARIES: Mapping[int, Primaries] = {
    1: BT709,
    4: Primaries((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), ILLUMINANT_C),
    5: Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: Primaries((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), ILLUMINANT_C),
    9: BT2020,
    10: Primaries((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: Primaries((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
VIDEO_TRANSFERS = frozenset({1, 6, 14, 15})  # one function under four code points, of BT.709, BT.601 and BT.2020
TRANSFERS: Mapping[int, Transfer] = {
    4: Curve(2.2),
    5: Curve(2.8),
    7: Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: Curve(1.0),
    13: SRGB,
    16: Hdr.PQ,
    17: Curve(2.6, (52.37 / 48) ** (1 / 2.6)),
    18: Hdr.HLG,
}


@dataclass(frozen=True)
class ColorSpace:
    primaries: Primaries
    transfer: Transfer
    peak_nits: float = DEFAULT_PEAK_NITS  # used for HDR only

    @property
    def is_srgb(self) -> bool:
        """Whether this is sRGB, so that no conversion is needed."""
        return self.primaries == BT709 and self.transfer == SRGB

    def with_peak(self, nits: float) -> "ColorSpace":
        """This space with the peak from the content's metadata; 0 means that there is none."""
        return replace(self, peak_nits=min(nits, MAX_PEAK_NITS)) if nits > 0 else self


@dataclass(frozen=True)
class ColorInfo:
    """Colour information of a file outside its ICC profile. With `space` None the profile applies, or sRGB.

    `limited_gray` is an AVIF of one plane with black at 16 of 255 and white at 235. `premultiplied` colours have been
    multiplied by their alpha.
    """

    space: ColorSpace | None = None
    limited_gray: bool = False
    premultiplied: bool = False


def from_code_points(primaries: int, transfer: int, video_transfer: Curve = SRGB) -> ColorSpace | None:
    """The colour space of two code points of H.273, or None when either is unknown.

    `video_transfer` is used for the transfer function of TV: browsers take sRGB's for AVIF, and that of a reference
    display (BT.1886) for PNG.
    """
    function = video_transfer if transfer in VIDEO_TRANSFERS else TRANSFERS.get(transfer)
    if primaries not in PRIMARIES or function is None:
        return None
    return ColorSpace(PRIMARIES[primaries], function)
