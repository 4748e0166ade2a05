"""The OpenAPI description of an upload's body and headers, which the handler parses itself."""

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

FOCUS_PATTERN = r"^(0|1|0?\.[0-9]{1,9}),(0|1|0?\.[0-9]{1,9})$"
FOCUS_DESCRIPTION = "The point that crops keep in sight, as `x,y` from `0,0` (left, top) to `1,1` (right, bottom)"


@dataclass
class UploadOperation(Operation):
    """Documents the multipart body and the headers."""

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
            "focus": Schema(type=OpenAPIType.STRING, pattern=FOCUS_PATTERN, description=FOCUS_DESCRIPTION),
        }
        form = Schema(type=OpenAPIType.OBJECT, properties=fields, required=["file"])
        self.request_body = RequestBody({"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)
        self.parameters = [
            Parameter(
                "Idempotency-Key",
                "header",
                schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255, pattern="^[!-~]+$"),
                description="Makes the upload safe to repeat for 24 hours: a repeated request gets the first answer",
            ),
            Parameter(
                "Prefer",
                "header",
                schema=Schema(type=OpenAPIType.STRING),
                description="`wait=10` delays the answer until READY or FAILED, for at most 10 seconds; up to 60",
            ),
        ]
