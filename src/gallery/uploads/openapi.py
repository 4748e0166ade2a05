"""The OpenAPI description of an upload's bodies, query and headers, which the handler parses itself."""

from dataclasses import dataclass

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, Operation, Parameter, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from gallery.images.openapi import PICTURE_TYPES, binary

NO_PICTURE = ResponseSpec(None, description="The file is not a picture in an accepted format")
TOO_LARGE = ResponseSpec(None, description="The file is too large, or beyond the owner's quota")
NOT_VALID = ResponseSpec(None, description="A field or the file is not valid")
BUSY = ResponseSpec(None, description="Another request is writing this upload")
IN_FLIGHT = ResponseSpec(None, description="A request with this idempotency key is still being answered")
REFUSALS = {409: IN_FLIGHT, 413: TOO_LARGE, 415: NO_PICTURE, 422: NOT_VALID, 423: BUSY}  # of an upload that ends
TUS_BEGUN = ResponseSpec(None, description="Begun, at `Location`; with bytes in the body, as much as arrived")
TUS_SAFE = ResponseSpec(None, description="All bytes are safe; with the last one, the image is there")
TUS_ERRORS = {
    409: ResponseSpec(None, description="The upload does not continue at this offset"),
    412: ResponseSpec(None, description="Another version of tus"),
    460: ResponseSpec(None, description="The bytes do not have this checksum"),
}
BYTES = "application/octet-stream"
CHUNK_TYPE = "application/offset+octet-stream"
FOCUS_PATTERN = r"^(0|1|0?\.[0-9]{1,9}),(0|1|0?\.[0-9]{1,9})$"
FOCUS_DESCRIPTION = "The point that crops keep in sight, as `x,y` from `0,0` (left, top) to `1,1` (right, bottom)"
SHA256_PATTERN = "^[0-9a-fA-F]{64}$"
DISPOSITION_EXAMPLE = "attachment; filename*=UTF-8''Z%C3%BCrich.jpg"
DIGEST_EXAMPLE = "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"

TEXT = Schema(type=OpenAPIType.STRING)
FIELDS: dict[str, Schema] = {
    "title": Schema(type=OpenAPIType.STRING, min_length=1, max_length=120),
    "description": Schema(type=OpenAPIType.STRING, max_length=500),
    "alt": Schema(type=OpenAPIType.STRING, max_length=500),
    "tags": Schema(type=OpenAPIType.ARRAY, items=TEXT, max_items=50),
    "visibility": Schema(type=OpenAPIType.STRING, enum=["private", "public"]),
    "lane": Schema(type=OpenAPIType.STRING, enum=["interactive", "bulk"]),
    "focus": Schema(type=OpenAPIType.STRING, pattern=FOCUS_PATTERN, description=FOCUS_DESCRIPTION),
    "sha256": Schema(
        type=OpenAPIType.STRING,
        pattern=SHA256_PATTERN,
        description="The SHA-256 of the file, in hex: a file with another one is refused",
    ),
}
EXAMPLES = {"title": "Lake", "alt": "A lake at dawn", "tags": ["lake", "summer"], "focus": "0.5,0.4"}


@dataclass
class UploadOperation(Operation):
    """Documents the multipart body, the raw bodies with their fields in the query, and the headers."""

    def __post_init__(self) -> None:
        file = binary(BYTES).schema or TEXT
        form: dict[str, Reference | Schema] = {"file": file, **FIELDS}
        content = {
            "multipart/form-data": OpenAPIMediaType(
                schema=Schema(type=OpenAPIType.OBJECT, properties=form, required=["file"])
            ),
            **{media_type: binary(media_type) for media_type in (*PICTURE_TYPES, BYTES)},
        }
        self.request_body = RequestBody(content, required=True)
        self.parameters = [*map(_query_parameter, FIELDS), *_HEADERS]


def _query_parameter(name: str) -> Parameter:
    examples = {"example": Example(value=EXAMPLES[name])} if name in EXAMPLES else None
    about = f"{FIELDS[name].description}. " if FIELDS[name].description else ""
    return Parameter(
        name,
        "query",
        schema=FIELDS[name],
        description=f"{about}Beside a raw body; a form has it as a field",
        examples=examples,
    )


def _header(
    name: str, description: str, example: str = "", schema: Schema = TEXT, *, required: bool = False
) -> Parameter:
    examples = {"example": Example(value=example)} if example else None
    return Parameter(name, "header", schema=schema, description=description, examples=examples, required=required)


IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "Makes the upload safe to repeat for 24 hours: a repeated request gets the first answer",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255, pattern="^[!-~]+$"),
)
TUS_VERSION = _header(
    "Tus-Resumable", "The version of tus", schema=Schema(type=OpenAPIType.STRING, enum=["1.0.0"]), required=True
)
OFFSET = _header(
    "Upload-Offset",
    "The offset of the first byte of this request",
    schema=Schema(type=OpenAPIType.INTEGER, minimum=0),
    required=True,
)
LENGTH = _header(
    "Upload-Length",
    "The size of the file in bytes",
    schema=Schema(type=OpenAPIType.INTEGER, minimum=1),
    required=True,
)
COMPLETE = _header(
    "Upload-Complete",
    "Of the IETF's protocol, in place of Tus-Resumable (GALLERY_UPLOAD__IETF): `?1` with the last bytes, else `?0`",
)
CHECKSUM = _header("Upload-Checksum", "`sha256` or `sha1`, a space and the sum of this request's bytes in base64")
METADATA = _header(
    "Upload-Metadata",
    "Pairs of a key and a value in base64: filename, sha256, idempotencyKey, and the fields of an upload",
)
_HEADERS = [
    _header("Content-Disposition", "The name of the file in a raw body (RFC 6266)", DISPOSITION_EXAMPLE),
    _header(
        "Repr-Digest", "The SHA-256 of the file in a raw body (RFC 9530); `Content-Digest` counts, too", DIGEST_EXAMPLE
    ),
    IDEMPOTENCY_KEY,
    _header("Prefer", "`wait=10` delays the answer until READY or FAILED, for at most 10 seconds; up to 60"),
]


@dataclass
class TusCreation(Operation):
    """Documents the headers of a creation; bytes in its body are the first of the file."""

    def __post_init__(self) -> None:
        self.parameters = [TUS_VERSION, LENGTH, METADATA, CHECKSUM, COMPLETE, IDEMPOTENCY_KEY]
        self.request_body = RequestBody({CHUNK_TYPE: binary(BYTES)}, required=False)


@dataclass
class DirectOperation(Operation):
    """Documents the header that the beginning of a direct upload reads."""

    def __post_init__(self) -> None:
        self.parameters = [IDEMPOTENCY_KEY]


@dataclass
class PartOperation(Operation):
    """Documents the body of a part."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody({BYTES: binary(BYTES)}, required=True)


@dataclass
class TusPatch(Operation):
    """Documents the headers and the body of the next bytes."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), TUS_VERSION, OFFSET, CHECKSUM, COMPLETE]
        self.request_body = RequestBody({CHUNK_TYPE: binary(BYTES)}, required=True)
