"""What the OpenAPI document says of the calls in `api.py`, beyond their signatures."""

from dataclasses import dataclass
from typing import Annotated

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import HeaderParameter

from gallery.images import list_query
from gallery.images.list_query import Sort
from gallery.images.model import Status

SAME = ResponseSpec(None, description="Not modified: `If-None-Match` has the present `ETag`")
CHANGED = ResponseSpec(None, description="The image has changed: `If-Match` has an older `ETag`")

IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(name="If-None-Match", description="The `ETag` of your copy; 304 if it is still the present one"),
]


@dataclass
class ListOperation(Operation):
    """Tells the OpenAPI document of the parameters, which `question.read` checks."""

    def __post_init__(self) -> None:
        text, whole = OpenAPIType.STRING, OpenAPIType.INTEGER
        status = Schema(type=text, enum=list(Status))
        tag = Schema(type=text, min_length=1, max_length=50)
        limit = Schema(type=whole, minimum=1, maximum=list_query.MOST, default=list_query.DEFAULT)
        sort = Schema(type=text, enum=list(Sort), default=Sort.NEWEST)
        search = Schema(type=text, max_length=list_query.LONGEST_SEARCH)
        self.parameters = [
            _query("limit", "Images on a page", limit),
            _query("cursor", "From the Link of the page before, with the same sort and filters", Schema(type=text)),
            _query("sort", "Minus is descending", sort),
            _query("status", "One or several, separated by commas", _several(status, len(Status)), explode=False),
            _query("tag", "Repeatable; only images that have all of them", _several(tag, list_query.MOST_TAGS)),
            _query(
                "search",
                "Only images with all of these words, or parts of words, in title, description, alt text, tags or name",
                search,
            ),
            _query("ids", "These images, in this order", _several(Schema(type=text), list_query.MOST), explode=False),
        ]


def _query(name: str, description: str, schema: Schema, *, explode: bool = True) -> Parameter:
    return Parameter(name, "query", schema=schema, description=description, style="form", explode=explode)


def _several(item: Schema, most: int) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=item, max_items=most)
