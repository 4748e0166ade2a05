"""What the OpenAPI document says of an upload's body and headers, which our own code reads."""

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType


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
