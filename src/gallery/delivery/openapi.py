"""The parts of the OpenAPI document that do not follow from the signatures in this package's handlers."""

from dataclasses import dataclass
from typing import ClassVar

from litestar.openapi.spec import OpenAPIResponse, Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType

from gallery.images.openapi import IF_NONE_MATCH, PICTURE_TYPES, binary, optional_text

NUMBER, WHOLE, TEXT, FLAG = OpenAPIType.NUMBER, OpenAPIType.INTEGER, OpenAPIType.STRING, OpenAPIType.BOOLEAN
SIDE = Schema(type=WHOLE, minimum=1, maximum=8192)

PICTURE_PARAMETERS = (
    ("w", "Width in CSS pixels; without `h`, the ratio is kept", SIDE),
    ("h", "Height in CSS pixels; without `w`, the ratio is kept", SIDE),
    ("dpr", "Device pixels for a CSS pixel: multiplies `w` and `h`", Schema(type=NUMBER, minimum=1, maximum=4)),
    ("fit", "How the picture fits the box", Schema(type=TEXT, enum=["inside", "cover", "contain", "fill"])),
    (
        "focus",
        "What `cover` keeps in sight: `x,y` from 0 to 1, a side, `center`, `attention`, `entropy`",
        Schema(type=TEXT),
    ),
    ("rect", "Cut out first: `x,y,w,h` in pixels of the upright original", Schema(type=TEXT)),
    ("rotate", "Degrees, clockwise", Schema(type=WHOLE, enum=[90, 180, 270])),
    ("flip", "Mirrored left to right (`h`), upside down (`v`), or both", Schema(type=TEXT, enum=["h", "v", "hv"])),
    (
        "format",
        "`auto`, the default, is the best format that `Accept` names, else JPEG",
        Schema(type=TEXT, enum=["auto", "avif", "webp", "jpeg", "png"]),
    ),
    ("q", "Quality; by default the recipe's for the format", Schema(type=WHOLE, minimum=1, maximum=100)),
    ("bg", "Colour behind transparency, and of padding: `rrggbb` or `rrggbbaa`", Schema(type=TEXT)),
    ("blur", "Standard deviation in pixels", Schema(type=NUMBER, minimum=0.3, maximum=100)),
    ("sharpen", "Strength", Schema(type=NUMBER, minimum=0.1, maximum=10)),
    ("gray", "Without colours", Schema(type=FLAG, enum=[True])),
    ("preset", "A name from `GET /api/v1/presets`; beside it only `dpr`, `format` and `v`", Schema(type=TEXT)),
    ("v", "The version of a given URL; with the current one, the answer may be cached for ever", Schema(type=TEXT)),
)
CONDITIONAL_HEADERS = (
    IF_NONE_MATCH,
    optional_text("Range", "header", "One part, e.g. `bytes=0-1023`; for several, the answer is the whole"),
    optional_text("If-Range", "header", "The `ETag` of the picture that the part belongs to"),
)
DOWNLOAD = optional_text("download", "query", "With any value, a browser saves the file instead of showing it")
RECIPE_VERSION = optional_text(
    "v", "query", "The recipe's version; with the current one, the answer may be cached for ever"
)
RENDERED_TYPES = ("image/webp", "image/jpeg", "image/avif", "image/png")


@dataclass
class ConditionalOperation(Operation):
    """Documents the media types of a picture, the headers of conditional and partial requests, and the parameters that
    the handler reads from the request itself.
    """

    media_types: ClassVar[tuple[str, ...]] = RENDERED_TYPES
    query: ClassVar[tuple[Parameter, ...]] = ()

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), *self.query, *CONDITIONAL_HEADERS]
        for status in ("200", "206"):
            response = (self.responses or {})[status]
            if isinstance(response, OpenAPIResponse):
                response.content = {media_type: binary(media_type) for media_type in self.media_types}


@dataclass
class OriginalOperation(ConditionalOperation):
    media_types = PICTURE_TYPES
    query = (DOWNLOAD,)


@dataclass
class RenditionOperation(ConditionalOperation):
    query = (RECIPE_VERSION,)


@dataclass
class PictureOperation(ConditionalOperation):
    """The query is what `picture_query.parse` reads."""

    query = tuple(
        Parameter(name, "query", schema=schema, description=description)
        for name, description, schema in PICTURE_PARAMETERS
    )
