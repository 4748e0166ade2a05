"""The parts of the OpenAPI document that do not follow from the signatures in `api.py`."""

from dataclasses import dataclass
from typing import Literal

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from gallery.images import list_query
from gallery.images.list_query import Sort
from gallery.images.model import Status

NOT_MODIFIED = ResponseSpec(None, description="Not modified: `If-None-Match` has the present `ETag`")
PRECONDITION_FAILED = ResponseSpec(None, description="The image has changed: `If-Match` has an older `ETag`")

SIGNED_DESCRIPTION = "true: the URLs in `renditions`, `srcset` and `original` need no credential for one to two hours"


PICTURE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/heic")  # of originals


def optional_text(name: str, location: Literal["query", "header"], description: str) -> Parameter:
    """A parameter that the handler reads from the request itself."""
    return Parameter(name, location, schema=Schema(type=OpenAPIType.STRING), description=description)


def binary(media_type: str) -> OpenAPIMediaType:
    """Bytes: generators of OpenAPI 3.0 know them by `format`, those of 3.1 by `contentMediaType`."""
    return OpenAPIMediaType(
        schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, content_media_type=media_type)
    )


IF_MATCH = optional_text("If-Match", "header", "The `ETag` of the image to change; 412 if it has changed meanwhile")
IF_NONE_MATCH = optional_text("If-None-Match", "header", "The `ETag` of your copy; 304 if it is still the present one")


@dataclass
class ImageOperation(Operation):
    """Documents the parameters that the read of an image reads."""

    def __post_init__(self) -> None:
        schema = Schema(type=OpenAPIType.BOOLEAN, default=False, description=SIGNED_DESCRIPTION)
        signed = Parameter("signed", "query", schema=schema, description=SIGNED_DESCRIPTION)
        self.parameters = [*(self.parameters or []), signed, IF_NONE_MATCH]


@dataclass
class ChangeOperation(Operation):
    """Documents the header that a change of an image reads."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), IF_MATCH]


@dataclass
class ListOperation(Operation):
    """Documents the query parameters, which `list_query.parse` reads."""

    def __post_init__(self) -> None:
        text, whole = OpenAPIType.STRING, OpenAPIType.INTEGER
        status = Schema(type=text, enum=list(Status))
        tag = Schema(type=text, min_length=1, max_length=50)
        limit = Schema(type=whole, minimum=1, maximum=list_query.MAX_LIMIT, default=list_query.DEFAULT_LIMIT)
        sort = Schema(type=text, enum=list(Sort), default=Sort.NEWEST)
        search = Schema(type=text, max_length=list_query.MAX_SEARCH_LENGTH)
        self.parameters = [
            _query_parameter("limit", "Images on a page", limit),
            _query_parameter(
                "cursor", "From the Link of the page before, with the same sort and filters", Schema(type=text)
            ),
            _query_parameter("sort", "Minus is descending", sort),
            _query_parameter(
                "status", "One or several, separated by commas", _array(status, len(Status)), explode=False
            ),
            _query_parameter("tag", "Repeatable; only images that have all of them", _array(tag, list_query.MAX_TAGS)),
            _query_parameter(
                "search",
                "Only images with all of these words, or parts of words, in title, description, alt text, tags or name",
                search,
            ),
            _query_parameter(
                "ids", "These images, in this order", _array(Schema(type=text), list_query.MAX_LIMIT), explode=False
            ),
            _query_parameter("signed", SIGNED_DESCRIPTION, Schema(type=OpenAPIType.BOOLEAN, default=False)),
        ]


def _query_parameter(name: str, description: str, schema: Schema, *, explode: bool = True) -> Parameter:
    return Parameter(name, "query", schema=schema, description=description, style="form", explode=explode)


def _array(item: Schema, max_items: int) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=item, max_items=max_items)
