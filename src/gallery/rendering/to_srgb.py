"""Converts pixels of any colour space to 8-bit sRGB; HDR is tone-mapped, as in a browser on an ordinary screen."""

import math
from collections.abc import Sequence

from gallery.rendering.color_space import (
    BT709,
    BT2020,
    DEFAULT_PEAK_NITS,
    REFERENCE_WHITE_NITS,
    SRGB,
    ColorSpace,
    Hdr,
    Primaries,
    Transfer,
)
from gallery.rendering.vips import Picture

HLG_PEAK_NITS = 1_000.0  # of the reference display of BT.2100, whose system gamma is 1.2
HLG_GAMMA = 1.2
LUMINANCE_WEIGHTS = (0.2627, 0.6780, 0.0593)  # of BT.2020
BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
KAPPA = 0.65  # the roundness of the tone mapping's curve
MIN_TONE_MAP_PEAK = 1.01  # in reference whites: a lower peak needs no tone mapping
MAX_16_BIT = 65_535


def to_srgb(picture: Picture, space: ColorSpace) -> Picture:
    """8-bit sRGB of a gray or RGB picture of 8 or 16 bits, with its alpha; colours outside of sRGB are clipped."""
    deep = picture.format == "ushort"
    coded = picture.colourspace("rgb16" if deep else "srgb")
    light = coded[0:3].maplut(_linear_table(space.transfer, deep=deep))
    if isinstance(space.transfer, Hdr):
        light = _tone_mapped(light.recomb(_matrix(space.primaries, BT2020)), space)
        light = light.recomb(_matrix(BT2020, BT709))
    else:
        light = light.recomb(_matrix(space.primaries, BT709))
    srgb = (light * MAX_16_BIT).rint().cast("ushort").maplut(_srgb_table()).copy(interpretation="srgb")
    if coded.bands == 3:
        return srgb
    return srgb.bandjoin((coded[3] >> 8).cast("uchar") if deep else coded[3])


# --- transfer functions, as tables ------------------------------------------------------------------------------


def _linear_table(transfer: Transfer, *, deep: bool) -> Picture:
    """Light by encoded value: 1 is white, in HDR the reference white. HLG's system gamma is not applied yet."""
    x = Picture.identity(ushort=deep) / (MAX_16_BIT if deep else 255)
    match transfer:
        case Hdr.PQ:
            return _pq(x) * (10_000 / REFERENCE_WHITE_NITS)
        case Hdr.HLG:
            return _hlg(x)
        case curve:
            return (x >= curve.d).ifthenelse((x * curve.a + curve.b) ** curve.gamma, x * curve.c)


def _pq(x: Picture) -> Picture:
    """SMPTE ST 2084: 1 is 10,000 nits."""
    power = x ** (32 / 2523)
    base = power - 107 / 128
    return ((base > 0).ifthenelse(base, 0) / (power * (-2392 / 128) + 2413 / 128)) ** (8192 / 1305)


def _hlg(x: Picture) -> Picture:
    """ITU-R BT.2100, table 5: the light of the scene, 0 to 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return (x <= 0.5).ifthenelse(x * x / 3, (((x - c) / a).exp() + b) / 12)


def _srgb_table() -> Picture:
    """The table from light in steps of 1/65,535 to 8 bits of sRGB."""
    x = Picture.identity(ushort=True) / MAX_16_BIT
    curved = x ** (1 / SRGB.gamma) * 1.055 - 0.055
    return ((x <= 0.0031308).ifthenelse(x * 12.92, curved) * 255).rint().cast("uchar")


# --- tone mapping ------------------------------------------------------------------------------------------------


def _tone_mapped(light: Picture, space: ColorSpace) -> Picture:
    """Maps HDR light of BT.2020 to an SDR screen: at most 1.

    The gain is one for all three colours of a pixel, by the brightest of them, so that hues stay: the reference white
    tone mapping operator of SMPTE ST 2094-50, annex D.
    """
    if space.transfer is Hdr.HLG:
        luminance = light.recomb(Picture.new_from_array([list(LUMINANCE_WEIGHTS)])).clamp(max=1)
        light = light * luminance ** (HLG_GAMMA - 1) * (HLG_PEAK_NITS / REFERENCE_WHITE_NITS)
    peak = max(MIN_TONE_MAP_PEAK, space.peak_nits / REFERENCE_WHITE_NITS)
    brightest = light[0].bandrank([light[1], light[2]], index=2)
    within = (brightest > peak).ifthenelse(peak, brightest)
    gain = (within * (MAX_16_BIT / peak)).cast("ushort").maplut(_gain_table(peak))
    return light * gain * (brightest > peak).ifthenelse(peak / brightest, 1)


def _gain_table(peak: float) -> Picture:
    """The gain by brightness, in steps of `peak` / 65,535.

    Up to the reference white the gain is constant. From there a Bézier curve of three points leads to `peak`, which
    becomes 1.
    """
    x = Picture.identity(ushort=True) * (peak / MAX_16_BIT)
    white = 1 - 0.5 * min(math.log(peak) / math.log(DEFAULT_PEAK_NITS / REFERENCE_WHITE_NITS), 1)
    middle = (1 - KAPPA + KAPPA / white, (1 - KAPPA) * white + KAPPA)
    (bx, by), (ax, ay) = (
        (2 * (middle[0] - 1), 2 * (middle[1] - white)),
        (1 - 2 * middle[0] + peak, white - 2 * middle[1] + 1),
    )
    beyond = (x > 1).ifthenelse(x - 1, 0)
    t = (((beyond * (4 * ax) + bx * bx) ** 0.5) - bx) / (2 * ax)
    return (x > 1).ifthenelse((t * (t * ay + by) + white) / x, white)


# --- primaries ---------------------------------------------------------------------------------------------------


def _matrix(source: Primaries, target: Primaries) -> Picture:
    """The matrix from light of `source` to light of `target`, whites to whites (Bradford)."""
    adapted = _adaptation(source.white, target.white).matrixmultiply(_to_xyz(source))
    return _to_xyz(target).matrixinvert().matrixmultiply(adapted)


def _to_xyz(primaries: Primaries) -> Picture:
    directions = [(x, y, 1 - x - y) for x, y in primaries[:3]]
    corners = Picture.new_from_array([list(row) for row in zip(*directions, strict=True)])
    return corners.matrixmultiply(_diagonal(corners.matrixinvert().matrixmultiply(_column(_xyz(*primaries.white)))))


def _adaptation(source: tuple[float, float], target: tuple[float, float]) -> Picture:
    bradford = Picture.new_from_array([list(row) for row in BRADFORD])
    before, after = (bradford.matrixmultiply(_column(_xyz(*white))) for white in (source, target))
    return bradford.matrixinvert().matrixmultiply(_diagonal(after / before)).matrixmultiply(bradford)


def _xyz(x: float, y: float) -> tuple[float, float, float]:
    """XYZ of a white of luminance 1."""
    return x / y, 1.0, (1 - x - y) / y


def _column(values: Sequence[float]) -> Picture:
    return Picture.new_from_array([[value] for value in values])


def _diagonal(column: Picture) -> Picture:
    a, b, c = (column(0, row)[0] for row in range(3))
    return Picture.new_from_array([[a, 0, 0], [0, b, 0], [0, 0, c]])
