"""What a request for a picture on demand asks for, and whether its caller may have it: the grammar and the settings."""

import hashlib
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from gallery.access.model import Caller, CredentialKind, Scope
from gallery.delivery import picture_query
from gallery.delivery.picture_maker import PictureOrder
from gallery.delivery.picture_query import PLACES, PictureQuery
from gallery.errors import (
    CredentialsRequired,
    ImageNotReady,
    InvalidField,
    MalformedRequest,
    Misconfigured,
    PictureNotAllowed,
    ScopeMissing,
)
from gallery.images.model import Image
from gallery.negotiation import names_explicitly
from gallery.rendering.picture_spec import CENTER, MAX_SIDE, Fit, Gravity, PictureSpec, Point, Rect, clip, turned
from gallery.rendering.probe import Format
from gallery.rendering.recipe import Recipe
from gallery.settings import PicturesSettings, parse_picture_formats

AUTO = "auto"
AUTO_FORMATS = (Format.AVIF, Format.WEBP)  # that a client has to name, the best first
ANONYMOUS_DPRS = (None, 1, 2, 3)
MAX_PARAMETERS = 32


class RequestedPicture(Struct, frozen=True):
    """A parsed query: as it was sent, with its preset's parameters, and the version in its URL."""

    sent: PictureQuery
    query: PictureQuery
    version: str | None

    @property
    def varies(self) -> bool:
        """Whether the answer depends on the header `Accept`."""
        return self.query.format in (None, AUTO)


class PresetView(Struct, frozen=True):
    """A preset: `?preset=<name>` asks for the same picture as `?<query>`."""

    __schema_name__ = "Preset"

    name: str
    query: str


class PictureRequests:
    def __init__(self, settings: PicturesSettings, presets: Mapping[str, PictureQuery], recipe: Recipe) -> None:
        self._presets = presets
        self._anonymous = settings.anonymous
        self.recipe = recipe
        self.formats = [Format(name) for name in parse_picture_formats(settings.formats)]

    def presets(self, caller: Caller) -> list[PresetView]:
        """All presets by name. Raises `CredentialsRequired`, `ScopeMissing` for a caller who may not use them."""
        if self._anonymous == "none" and not caller.may(Scope.READ):
            raise CredentialsRequired if caller.kind is CredentialKind.ANONYMOUS else ScopeMissing(Scope.READ)
        return [PresetView(name, picture_query.canonical(query)) for name, query in sorted(self._presets.items())]

    def parse(self, query_string: bytes) -> RequestedPicture:
        """Raises `InvalidField`, `PresetNotFound`, `MalformedRequest`."""
        try:
            pairs = parse_qsl(
                query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
            )
        except ValueError as error:
            raise MalformedRequest("The query is not valid.", cause=str(error)) from error
        sent = picture_query.parse(pairs)
        version = next((value for name, value in pairs if name == "v"), None)
        return RequestedPicture(sent, picture_query.expand(sent, self._presets), version)

    def order(self, caller: Caller, image: Image, requested: RequestedPicture, accept: str) -> PictureOrder:
        """Raises `PictureNotAllowed`, `ImageNotReady`, `InvalidField` for a rect outside, or a format that is off."""
        self._check_allowed(caller, image, requested.sent)
        if image.width is None or image.height is None:
            raise ImageNotReady(image=image.id, status=image.status)
        spec = self._spec(requested.query, image.width, image.height, accept)
        focus = _focus(requested.query.focus, image, spec)
        return self.order_of(image, msgspec.structs.replace(spec, focus=focus))

    def order_of(self, image: Image, spec: PictureSpec) -> PictureOrder:
        text = f"{self.recipe.pictures_version} ".encode() + msgspec.json.encode(spec)
        return PictureOrder(image, spec, hashlib.sha256(text).hexdigest()[:32])

    def version(self, image: Image) -> str:
        """Eight hex digits that change whenever the same query would give another picture of the image."""
        focus = "" if image.focus is None else f"{image.focus.x},{image.focus.y}"
        return hashlib.sha256(f"{self.recipe.pictures_version} {focus}".encode()).hexdigest()[:8]

    def _check_allowed(self, caller: Caller, image: Image, sent: PictureQuery) -> None:
        """Raises `PictureNotAllowed`."""
        if caller.may(Scope.READ) or caller.has_uploaded(image.id) or caller.kind is CredentialKind.LINK:
            return
        if self._anonymous == "any":
            return
        plain_preset = msgspec.structs.replace(sent, dpr=None) == PictureQuery(preset=sent.preset)
        by_preset = sent.preset is not None and sent.dpr in ANONYMOUS_DPRS and plain_preset
        if self._anonymous == "none" or not by_preset:
            raise PictureNotAllowed(setting=self._anonymous)

    def _spec(self, query: PictureQuery, width: int, height: int, accept: str) -> PictureSpec:
        kind = self._format(query.format, accept)
        return PictureSpec(
            format=kind,
            quality=query.q if query.q is not None and kind is not Format.PNG else self.recipe.quality(kind),
            rect=_clipped(query.rect, width, height),
            rotate=query.rotate or 0,
            flip=query.flip or "",
            width=_device_pixels(query.w, query.dpr),
            height=_device_pixels(query.h, query.dpr),
            fit=query.fit or Fit.INSIDE,
            background=query.bg,
            blur=query.blur,
            sharpen=query.sharpen,
            gray=bool(query.gray),
        )

    def _format(self, name: str | None, accept: str) -> Format:
        if name in (None, AUTO):
            named = (kind for kind in AUTO_FORMATS if kind in self.formats and names_explicitly(accept, kind.mime_type))
            return next(named, Format.JPEG)
        if Format(name) not in self.formats:
            enabled = ", ".join(self.formats)
            raise InvalidField("/format", f"is not enabled here; enabled are {enabled} (GALLERY_PICTURES__FORMATS)")
        return Format(name)


def read_presets(texts: Mapping[str, str]) -> dict[str, PictureQuery]:
    """Raises `Misconfigured` for a preset that is no query of a picture."""
    presets = {}
    for name, text in texts.items():
        variable = f"GALLERY_PRESETS__{name.upper()}"
        try:
            query = picture_query.parse(parse_qsl(text, keep_blank_values=True, strict_parsing=True))
        except InvalidField as error:
            raise Misconfigured(f"{variable}={text!r}: {error.pointer[1:]} {error.detail}.") from error
        except ValueError as error:
            raise Misconfigured(f"{variable}={text!r} is not a query such as w=96&h=96&fit=cover.") from error
        if query.preset:
            raise Misconfigured(f"{variable}={text!r} names another preset.")
        presets[name] = query
    return presets


def _device_pixels(side: int | None, dpr: float | None) -> int | None:
    return None if side is None else min(MAX_SIDE, max(1, round(side * (dpr or 1))))


def _clipped(rect: Rect | None, width: int, height: int) -> Rect | None:
    if rect is None:
        return None
    inside = clip(rect, width, height)
    if inside is None:
        raise InvalidField("/rect", f"is outside the picture, which has {width} × {height} pixels")
    return inside


def _focus(wanted: Point | str | None, image: Image, spec: PictureSpec) -> Point | Gravity:
    """The sent focus, which speaks of the turned picture; else the image's own, which speaks of the upright original;
    else the middle. Only a crop has one, so that others are kept once.
    """
    if spec.fit is not Fit.COVER or spec.width is None or spec.height is None:
        return CENTER
    match wanted:
        case None if image.focus is not None:
            return turned(Point(image.focus.x, image.focus.y), spec, image.width or 0, image.height or 0)
        case None:
            return CENTER
        case Point():
            return wanted
        case _:
            return PLACES[wanted] if wanted in PLACES else Gravity(wanted)
