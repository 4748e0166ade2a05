"""The grammar of pictures on demand: `w=800&h=600&fit=cover` as a value, with one canonical spelling.

The canonical spelling has the parameters that are there in alphabetical order, joined by `&`, with numbers in their
shortest form; nothing is added and nothing left out. So an app's own server can write it without knowing the defaults.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from gallery.errors import InvalidField, PresetNotFound
from gallery.rendering.picture_spec import Color, Fit, Gravity, Point, Rect

MAX_SIDE = 8192
MAX_DPR = 4
ROTATIONS, FLIPS, FORMATS = (90, 180, 270), ("h", "v", "hv"), ("auto", "avif", "webp", "jpeg", "png")
UNSIGNED = frozenset({"v", "kid", "exp", "sig"})  # parameters that say nothing about the picture
BESIDE_PRESET = frozenset({"preset", "dpr", "format"})
PLACES = {
    "center": Point(0.5, 0.5),
    "top": Point(0.5, 0),
    "bottom": Point(0.5, 1),
    "left": Point(0, 0.5),
    "right": Point(1, 0.5),
}
INTEGER = re.compile(r"[0-9]{1,6}", re.ASCII)
DECIMAL = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,6})?", re.ASCII)
COLOR = re.compile(r"[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?", re.ASCII)
PRESET = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)

T = TypeVar("T")


class PictureQuery(Struct, frozen=True, omit_defaults=True):
    """The parameters of the contract; `None` is a parameter that is not there."""

    bg: Color | None = None
    blur: float | None = None
    dpr: float | None = None
    fit: Fit | None = None
    flip: str | None = None
    focus: Point | str | None = None  # a name of PLACES or of `Gravity`
    format: str | None = None
    gray: bool | None = None
    h: int | None = None
    preset: str | None = None
    q: int | None = None
    rect: Rect | None = None
    rotate: int | None = None
    sharpen: float | None = None
    w: int | None = None


def parse(pairs: Iterable[tuple[str, str]]) -> PictureQuery:
    """Reads decoded names and values, in any order. Raises `InvalidField` for each rule that they break."""
    fields: dict[str, Any] = {}
    for name, text in pairs:
        if name in UNSIGNED:
            continue
        if name not in READERS:
            raise InvalidField(f"/{name}", f"is unknown; known are {', '.join(READERS)}")
        if name in fields:
            raise InvalidField(f"/{name}", "is there more than once")
        fields[name] = READERS[name](name, text)
    _check_combination(fields)
    return PictureQuery(**fields)


def canonical(query: PictureQuery) -> str:
    """The one spelling of this query. `parse` gives the same query again."""
    present = ((name, getattr(query, name)) for name in query.__struct_fields__)
    return "&".join(f"{name}={_text(value)}" for name, value in present if value is not None)


def expand(query: PictureQuery, presets: Mapping[str, PictureQuery]) -> PictureQuery:
    """The query with its preset's parameters. Raises `PresetNotFound`."""
    if query.preset is None:
        return query
    preset = presets.get(query.preset)
    if preset is None:
        raise PresetNotFound(preset=query.preset)
    return msgspec.structs.replace(preset, dpr=query.dpr or preset.dpr, format=query.format or preset.format)


def _check_combination(fields: Mapping[str, Any]) -> None:
    if "preset" in fields:
        for name in fields.keys() - BESIDE_PRESET:
            raise InvalidField(f"/{name}", "cannot be combined with preset, but for dpr, format and v")
    if "focus" in fields and fields.get("fit") is not Fit.COVER:
        raise InvalidField("/focus", "needs fit=cover")


def _text(value: Any) -> str:
    match value:
        case Color():
            hexadecimal = "".join(f"{part:02x}" for part in value)
            return hexadecimal.removesuffix("ff") if value.alpha == 255 else hexadecimal
        case Point() | Rect():
            return ",".join(_text(part) for part in value)
        case bool():
            return "true"
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case _:
            return str(value)


# --- the readers of single values: each raises `InvalidField` ---------------------------------------------------------


def _integer(low: int, high: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if not INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise InvalidField(f"/{name}", f"is not a whole number from {low} to {high}")
        return int(text)

    return read


def _decimal(low: float, high: float) -> Callable[[str, str], float]:
    def read(name: str, text: str) -> float:
        if not DECIMAL.fullmatch(text) or not low <= float(text) <= high:
            raise InvalidField(f"/{name}", f"is not a number from {low:g} to {high:g}, with six decimals at most")
        return float(text)

    return read


def _one_of(values: Mapping[str, T]) -> Callable[[str, str], T]:
    def read(name: str, text: str) -> T:
        if text not in values:
            raise InvalidField(f"/{name}", f"is not one of {', '.join(values)}")
        return values[text]

    return read


def _color(name: str, text: str) -> Color:
    if not COLOR.fullmatch(text):
        raise InvalidField(f"/{name}", "is not a colour such as ffffff or ffffff80")
    return Color(*bytes.fromhex(text))


def _focus(name: str, text: str) -> Point | str:
    if text in PLACES or text in set(Gravity):
        return text
    parts = text.split(",")
    if len(parts) != 2 or not all(DECIMAL.fullmatch(part) and float(part) <= 1 for part in parts):
        names = ", ".join([*PLACES, *Gravity])
        raise InvalidField(f"/{name}", f"is not x,y with numbers from 0 to 1, nor one of {names}")
    return Point(float(parts[0]), float(parts[1]))


def _rect(name: str, text: str) -> Rect:
    parts = text.split(",")
    if len(parts) != 4 or not all(INTEGER.fullmatch(part) for part in parts):
        raise InvalidField(f"/{name}", "is not x,y,w,h with whole numbers of pixels")
    rect = Rect(*(int(part) for part in parts))
    if not rect.width or not rect.height:
        raise InvalidField(f"/{name}", "is empty")
    return rect


def _preset(name: str, text: str) -> str:
    if not PRESET.fullmatch(text):
        raise InvalidField(f"/{name}", "is not the name of a preset: letters a–z, digits, _ and -")
    return text


READERS: dict[str, Callable[[str, str], Any]] = {
    "bg": _color,
    "blur": _decimal(0.3, 100),
    "dpr": _decimal(1, MAX_DPR),
    "fit": _one_of({str(fit): fit for fit in Fit}),
    "flip": _one_of({flip: flip for flip in FLIPS}),
    "focus": _focus,
    "format": _one_of({name: name for name in FORMATS}),
    "gray": _one_of({"true": True}),
    "h": _integer(1, MAX_SIDE),
    "preset": _preset,
    "q": _integer(1, 100),
    "rect": _rect,
    "rotate": _one_of({str(angle): angle for angle in ROTATIONS}),
    "sharpen": _decimal(0.1, 10),
    "w": _integer(1, MAX_SIDE),
}
