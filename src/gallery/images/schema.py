"""The JSON of images, in requests and responses: names in camelCase, times as RFC 3339 in UTC."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gallery.errors import MAX_ECHOED, InvalidField
from gallery.images.model import Edit, Focus, Image, Rendition, Status, Visibility

LINE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
JSON = "application/json"
MAX_JSON_BYTES = 64 * 1024  # bytes of a body

FOCUS_PATTERN = re.compile(r"\s*([0-9]{0,9}\.?[0-9]{1,20})\s*,\s*([0-9]{0,9}\.?[0-9]{1,20})\s*")
TEXT_PATTERN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

Title = Annotated[str, Meta(min_length=1, max_length=120, pattern=LINE_PATTERN, description="One line of text")]
Description = Annotated[str, Meta(max_length=500, pattern=TEXT_PATTERN, description="Text of several lines")]
Alt = Annotated[
    str,
    Meta(max_length=500, pattern=TEXT_PATTERN, description="A description of the picture for people who cannot see it"),
]
Tag = Annotated[str, Meta(min_length=1, max_length=50, pattern=LINE_PATTERN)]
Tags = Annotated[list[Tag], Meta(max_length=50)]


Fraction = Annotated[float, Meta(ge=0, le=1)]


class FocusPoint(Struct, frozen=True, forbid_unknown_fields=True):
    """The point that crops keep in sight: from 0 (left, top) to 1 (right, bottom) of the upright picture."""

    __schema_name__ = "Focus"

    x: Fraction
    y: Fraction


class ImageEdit(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields that a client may change; an absent field stays as it is, `null` removes the focus."""

    __schema_name__ = "ImageChanges"

    title: Title | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    alt: Alt | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    focus: FocusPoint | UnsetType | None = UNSET


class RenditionView(Struct, frozen=True):
    __schema_name__ = "Rendition"

    name: str
    format: str
    width: int
    height: int
    size: int
    url: str


class ErrorView(Struct, frozen=True):
    __schema_name__ = "ImageError"

    code: str
    message: str


class Placeholder(Struct, frozen=True):
    """A preview to show while the picture loads: a ThumbHash (base64) and the dominant colour."""

    thumbhash: str
    color: str


class ImageView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An image. `size` in bytes; `width` and `height` in pixels of the upright picture, null until READY."""

    __schema_name__ = "Image"

    id: str
    title: str
    description: str
    alt: str
    tags: list[str]
    original_name: str
    mime_type: str
    size: int
    sha256: str
    width: int | None
    height: int | None
    status: Status
    s3_key: str
    s3_url: str | None
    version: int
    attempts: int
    error: ErrorView | None
    animated: bool
    focus: FocusPoint | None
    visibility: Visibility
    renditions: list[RenditionView]
    srcset: dict[str, str]
    original: str
    placeholder: Placeholder | None
    exif: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class EventView(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The `data` of a server-sent event."""

    __schema_name__ = "Event"

    image_id: str
    status: Status
    version: int
    timestamp: datetime
    title: str
    s3_url: str | None = None
    error: ErrorView | None = None


def parse_edit(body: ImageEdit) -> Edit:
    """Raises `InvalidField`."""
    if body.title is not UNSET and not body.title.strip():
        raise InvalidField("/title", "is blank")
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    given = {name: value for name, value in fields.items() if value is not UNSET}
    if isinstance(body.focus, FocusPoint):
        given["focus"] = Focus(body.focus.x, body.focus.y)
    return Edit(**given)


def parse_focus(text: str) -> Focus:
    """The focus in `x,y`, as forms and queries have it. Raises `InvalidField`."""
    match = FOCUS_PATTERN.fullmatch(text)
    if match is None or not all(0 <= float(number) <= 1 for number in match.groups()):
        raise InvalidField(
            "/focus", f'is "{text[:MAX_ECHOED]}"; expected x,y from 0,0 (left, top) to 1,1 (right, bottom)'
        )
    return Focus(float(match[1]), float(match[2]))


def image_view(image: Image, base: str) -> ImageView:
    """The view of an image whose URLs begin with `base`: the public address, or nothing."""
    root = f"{base}/api/v1/images/{image.id}"
    renditions = [_rendition(r, root, image.recipe or "") for r in image.renditions]
    return ImageView(
        id=image.id,
        title=image.title,
        description=image.description,
        alt=image.alt,
        tags=image.tags,
        original_name=image.original_name,
        mime_type=image.mime_type,
        size=image.size,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        status=image.status,
        s3_key=image.original_key,
        s3_url=_s3_url(image, base),
        version=image.version,
        attempts=image.attempt,
        error=_error(image),
        animated=image.animated,
        focus=None if image.focus is None else FocusPoint(image.focus.x, image.focus.y),
        visibility=image.visibility,
        renditions=renditions,
        srcset=srcset(renditions),
        original=original_url(image.id, base),
        placeholder=Placeholder(image.thumbhash, image.color) if image.thumbhash and image.color else None,
        exif=msgspec.json.decode(image.exif),
        created_at=image.created_at,
        updated_at=image.updated_at,
    )


def event_view(image: Image, base: str) -> EventView:
    return EventView(
        image_id=image.id,
        status=image.status,
        version=image.version,
        timestamp=image.updated_at,
        title=image.title,
        s3_url=_s3_url(image, base),
        error=_error(image),
    )


def _rendition(r: Rendition, root: str, recipe: str) -> RenditionView:
    return RenditionView(r.name, r.format, r.width, r.height, r.size, f"{root}/{r.name}.{r.format}?v={recipe}")


def srcset(renditions: Sequence[RenditionView]) -> dict[str, str]:
    """For each format the `srcset` attribute of its renditions."""
    formats = dict.fromkeys(r.format for r in renditions)
    return {f: ", ".join(f"{r.url} {r.width}w" for r in renditions if r.format == f) for f in formats}


def original_url(image: str, base: str) -> str:
    return f"{base}/api/v1/images/{image}/original"


def _s3_url(image: Image, base: str) -> str | None:
    return original_url(image.id, base) if image.status is Status.READY else None


def _error(image: Image) -> ErrorView | None:
    if image.error_code is None or image.error_message is None:
        return None
    return ErrorView(image.error_code, image.error_message)
