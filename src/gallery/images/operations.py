"""What the OpenAPI document says of the two operations whose input our own code reads: the form and the question."""

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from gallery.images import question
from gallery.images.model import Status
from gallery.images.question import Sort


@dataclass
class UploadOperation(Operation):
    """Tells the OpenAPI document of the multipart body, which the handler reads by itself."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        fields: dict[str, Reference | Schema] = {
            "file": Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream"),
            "title": Schema(type=OpenAPIType.STRING, min_length=1, max_length=120),
            "description": Schema(type=OpenAPIType.STRING, max_length=500),
            "alt": Schema(type=OpenAPIType.STRING, max_length=500),
            "tags": Schema(type=OpenAPIType.ARRAY, items=text, max_items=50),
            "visibility": Schema(type=OpenAPIType.STRING, enum=["private", "public"]),
            "lane": Schema(type=OpenAPIType.STRING, enum=["interactive", "bulk"]),
        }
        form = Schema(type=OpenAPIType.OBJECT, properties=fields, required=["file"])
        self.request_body = RequestBody({"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)
        self.parameters = [
            Parameter(
                "Idempotency-Key",
                "header",
                schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255, pattern="^[!-~]+$"),
                description="Makes the upload safe to repeat for 24 hours: a request that is sent again is answered "
                "as it was the first time",
            ),
            Parameter(
                "Prefer",
                "header",
                schema=Schema(type=OpenAPIType.STRING),
                description="`wait=10` answers after READY or FAILED, or after that many seconds; 60 at most",
            ),
        ]


@dataclass
class ListOperation(Operation):
    """Tells the OpenAPI document of the parameters, which `question.read` checks."""

    def __post_init__(self) -> None:
        text, whole = OpenAPIType.STRING, OpenAPIType.INTEGER
        status = Schema(type=text, enum=list(Status))
        tag = Schema(type=text, min_length=1, max_length=50)
        limit = Schema(type=whole, minimum=1, maximum=question.MOST, default=question.DEFAULT)
        sort = Schema(type=text, enum=list(Sort), default=Sort.NEWEST)
        search = Schema(type=text, max_length=question.LONGEST_SEARCH)
        self.parameters = [
            _query("limit", "Images on a page", limit),
            _query("cursor", "From the Link of the page before, with the same sort and filters", Schema(type=text)),
            _query("sort", "Minus is descending", sort),
            _query("status", "One or several, separated by commas", _several(status, len(Status)), explode=False),
            _query("tag", "Repeatable; only images that have all of them", _several(tag, question.MOST_TAGS)),
            _query(
                "search",
                "Only images with all of these words, or parts of words, in title, description, alt text, tags or name",
                search,
            ),
            _query("ids", "These images, in this order", _several(Schema(type=text), question.MOST), explode=False),
        ]


def _query(name: str, description: str, schema: Schema, *, explode: bool = True) -> Parameter:
    return Parameter(name, "query", schema=schema, description=description, style="form", explode=explode)


def _several(item: Schema, most: int) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=item, max_items=most)
