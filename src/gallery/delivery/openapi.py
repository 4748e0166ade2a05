"""The parts of the OpenAPI document that do not follow from the signatures in this package's handlers."""

from dataclasses import dataclass

from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType

from gallery.images.openapi import IF_NONE_MATCH, optional_text

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


@dataclass
class ConditionalOperation(Operation):
    """Documents the headers of conditional and partial requests."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), *CONDITIONAL_HEADERS]


@dataclass
class OriginalOperation(Operation):
    """Documents the query parameter and the headers that the read of an original reads."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), DOWNLOAD, *CONDITIONAL_HEADERS]


@dataclass
class RenditionOperation(Operation):
    """Documents the query parameter and the headers that the read of a rendition reads."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), RECIPE_VERSION, *CONDITIONAL_HEADERS]


@dataclass
class PictureOperation(Operation):
    """Documents the query parameters, which `picture_query.parse` reads, and the headers."""

    def __post_init__(self) -> None:
        described = [
            Parameter(name, "query", schema=schema, description=description)
            for name, description, schema in PICTURE_PARAMETERS
        ]
        self.parameters = [*(self.parameters or []), *CONDITIONAL_HEADERS, *described]
