"""Errors as responses: `application/problem+json` (RFC 9457), in one shape for all."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

import msgspec
import structlog
from litestar import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response
from litestar.types import HTTPScope, Send
from litestar.typing import FieldDefinition
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gallery import errors
from gallery.uploads import ietf
from gallery.validation import invalid_field_at
from gallery.web.routing import client_disconnected, public_url_of

log = structlog.get_logger(__name__)

STATUS_BY_ERROR: dict[type[errors.GalleryError], int] = {
    errors.MalformedRequest: 400,
    errors.MalformedBody: 400,
    errors.UnsupportedContentType: 415,
    errors.IiifRequestInvalid: 400,
    errors.Unauthorized: 401,
    errors.InvalidHeader: 400,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.VersionMismatch: 412,
    errors.UploadBusy: 423,
    errors.Conflict: 409,
    errors.TooSlow: 408,
    errors.HeadersTooLarge: 431,
    errors.TooLarge: 413,
    errors.QuotaExceeded: 413,
    errors.NotAPicture: 415,
    errors.TypeNotAccepted: 415,
    errors.NotAChunk: 415,
    errors.TusVersionNotSupported: 412,
    errors.MethodNotOverridable: 405,
    errors.ShorterThanSaid: 400,
    errors.UploadCompleted: 400,
    errors.InconsistentLength: 400,
    errors.ChecksumMismatch: 460,
    errors.RangeOutside: 416,
    errors.Rejected: 422,
    errors.Busy: 429,
    errors.IiifNotSupported: 501,
    errors.Unavailable: 503,
}
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
Members: TypeAlias = Mapping[str, Any]
NO_MEMBERS: Members = {}
FRAMEWORK_DETAILS = {  # of errors that Litestar raises
    404: "No resource has this path.",
    405: "This path does not support this method.",
    500: "An unexpected error occurred in the server.",
}
TITLES = {460: "Checksum Mismatch"}  # of statuses that only tus knows
RETRY_AFTER_SECONDS = {503: "2"}
# The path in a body that is an array, in msgspec's message; Litestar, which calls the body `data`, leaves it out.
BODY_ITEM = re.compile(r" - at `\$\.data(\[.*)`$")
STREAM_RETRY_SECONDS = (5, 15)  # at random between these, so that clients do not all come back at once


class FieldError(Struct, frozen=True):
    """A wrong field as a JSON pointer, and a sentence about its error."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True, rename="camel"):
    """The body of an error: https://www.rfc-editor.org/rfc/rfc9457. `violated-policies` are the limits that refused the
    request: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/. The offsets are those of an upload
    by the IETF's protocol (`uploads.ietf`).
    """

    type: Annotated[str, Meta(description="The page of this code, with the remedy")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="A sentence about this occurrence")]
    instance: str
    code: Annotated[str, Meta(description="One of those at `/api/errors`; it never changes")]
    request_id: str
    errors: list[FieldError] = []
    violated_policies: list[str] | UnsetType = field(default=UNSET, name="violated-policies")
    expected_offset: int | UnsetType = field(default=UNSET, name="expected-offset")
    provided_offset: int | UnsetType = field(default=UNSET, name="provided-offset")


def from_gallery_error(request: Request[Any, Any, Any], error: errors.GalleryError) -> Response[bytes]:
    status = status_of(error)
    log.log(_log_level(status), "request.refused", error=str(error))
    headers, members = _headers(error), _members(error)
    exchange = ietf.exchange_of(request.scope)
    if exchange is not None:
        headers |= exchange.headers_of(error)
        members |= ietf.problem_members(error)
    return _response(request, status, error.code(), error.message(), _fields(error), headers, members)


def from_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if isinstance(error, ValidationException):
        return _response(request, 422, "invalid_field", errors.InvalidField.sentence(), _details(request, error))
    status = error.status_code
    if status == 500 and client_disconnected(request.scope):  # raised while the body was being read
        return Response(b"", status_code=400)  # `RequestContext` drops it
    if status == 400:
        return from_decode_error(request, error)
    if status == 413:
        return from_gallery_error(request, errors.TooLarge(cause=str(error)))
    return _response(
        request,
        status,
        _code_of_status(status),
        FRAMEWORK_DETAILS.get(status, f"{HTTPStatus(status).phrase}."),
        headers=error.headers,
    )


def from_decode_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """For a body that is not JSON, is not UTF-8, or has too many nested brackets."""
    return from_gallery_error(request, errors.MalformedBody(_json_error_message(error), cause=str(error)))


def _json_error_message(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "JSON must be encoded in UTF-8."
        case RecursionError():
            return "Its objects and arrays are nested too deeply."
        case HTTPException():
            return f"{error.detail}."  # msgspec's message, which names the position and quotes nothing
        case _:
            return f"{error}."


def from_unexpected_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A bug in Gallery: the log gets the traceback, the client a sentence and the request id."""
    log.error("request.failed", exc_info=error)
    return _response(request, 500, "internal_error", FRAMEWORK_DETAILS[500])


HANDLERS: Any = {
    errors.GalleryError: from_gallery_error,
    HTTPException: from_http_exception,
    msgspec.DecodeError: from_decode_error,
    UnicodeDecodeError: from_decode_error,
    RecursionError: from_decode_error,
    Exception: from_unexpected_error,
}


async def send_problem(scope: HTTPScope, send: Send, error: errors.GalleryError, headers: Headers = ()) -> None:
    """Send a problem from a middleware, where there is no Litestar `Response`."""
    status = status_of(error)
    body = encode_problem(
        status, error.code(), error.message(), scope["path"], public_url=public_url_of(scope), members=_members(error)
    )
    common_headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
    length = (b"content-length", b"%d" % len(body))
    retry_after = [(b"retry-after", RETRY_AFTER_SECONDS[status].encode())] if status in RETRY_AFTER_SECONDS else []
    log.log(_log_level(status), "request.refused", error=str(error))
    await send(
        {"type": "http.response.start", "status": status, "headers": [*common_headers, length, *retry_after, *headers]}
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body, "more_body": False})


def status_of(error: errors.GalleryError) -> int:
    return status_of_type(type(error))


def status_of_type(error_type: type[errors.GalleryError]) -> int:
    return next((STATUS_BY_ERROR[base] for base in error_type.__mro__ if base in STATUS_BY_ERROR), 500)


def encode_problem(
    status: int,
    code: str,
    sentence: str,
    path: str,
    details: Sequence[FieldError] = (),
    *,
    public_url: str = "",
    members: Members = NO_MEMBERS,
) -> bytes:
    """`members` are further ones of `Problem`, or others in place of those."""
    request_id = structlog.contextvars.get_contextvars().get("request", "")
    title, page = TITLES.get(status) or HTTPStatus(status).phrase, f"{public_url}/api/errors#{code}"
    problem = Problem(page, title, status, sentence, path, code, request_id, list(details))
    return msgspec.json.encode(msgspec.structs.replace(problem, **members) if members else problem)


def _response(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    sentence: str,
    details: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
    members: Members = NO_MEMBERS,
) -> Response[bytes]:
    public_url, path = public_url_of(request.scope), request.scope["path"]
    extra = {"Retry-After": RETRY_AFTER_SECONDS[status]} if status in RETRY_AFTER_SECONDS else {}
    return Response(
        encode_problem(status, code, sentence, path, details, public_url=public_url, members=members),
        status_code=status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **extra, **(headers or {})},
    )


def _fields(error: errors.GalleryError) -> list[FieldError]:
    """The field of the request that is wrong, for errors that are about one."""
    match error:
        case errors.InvalidField():
            return [FieldError(error.pointer, error.detail)]
        case errors.TypeNotAccepted() | errors.TooManyPixels() | errors.SideTooLong() | errors.TooMuchMemory():
            return [FieldError("/file", error.message())]
        case _:
            return []


def _members(error: errors.GalleryError) -> dict[str, Any]:
    """The names of the limits that have refused the request."""
    match error:
        case errors.TooManyRequests():
            return {"violated_policies": [str(error.facts["kind"])]}
        case errors.PictureBudgetSpent():
            return {"violated_policies": ["pictures"]}
        case _:
            return {}


def _headers(error: errors.GalleryError) -> dict[str, str]:  # noqa: PLR0911  one for each kind
    """Headers that only some errors have."""
    match error:
        case errors.RangeOutside():
            return {"Content-Range": f"bytes */{error.facts['size']}", "Accept-Ranges": "bytes"}
        case errors.TooManyStreams() | errors.StreamsFull():
            return {"Retry-After": str(random.randint(*STREAM_RETRY_SECONDS))}  # noqa: S311  no secret
        case errors.UnsupportedContentType():
            return {"Accept-Post": str(error.facts["accepted"])}
        case errors.StillInFlight() | errors.UploadBusy() | errors.PictureBudgetSpent():
            return {"Retry-After": str(error.facts.get("retry", 1))}
        case errors.OffsetMismatch():
            return {"Upload-Offset": str(error.facts["received"])}
        case errors.CredentialsRequired() | errors.Unauthorized() | errors.ScopeMissing():
            return {"WWW-Authenticate": _challenge(error)}
        case _:
            return {}


def _challenge(error: errors.GalleryError) -> str:
    """The value of `WWW-Authenticate`: https://www.rfc-editor.org/rfc/rfc6750#section-3."""
    match error:
        case errors.CredentialsRequired():
            return 'Bearer realm="gallery"'
        case errors.ScopeMissing():
            return f'Bearer realm="gallery", error="insufficient_scope", scope="{error.scope}"'
        case _:
            return (
                f'Bearer realm="gallery", error="invalid_token", error_description="{_quoted_string(error.message())}"'
            )


def _quoted_string(text: str) -> str:
    """`text` with `?` for each character that RFC 6750 does not allow in an `error_description`."""
    return re.sub(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]", "?", text)


def _details(request: Request[Any, Any, Any], error: ValidationException) -> list[FieldError]:
    found = error.extra if isinstance(error.extra, list) else []
    parameters = request.route_handler.parsed_fn_signature.parameters
    item = BODY_ITEM.search(str(error.__cause__))
    in_body = item[1] if item else ""
    return [
        _detail(parameters, in_body if e.get("key") == "data" else f".{e.get('key', '')}", str(e.get("message", "")))
        for e in found
        if isinstance(e, dict)
    ]


def _detail(parameters: Mapping[str, FieldDefinition], path: str, message: str) -> FieldError:
    body = parameters["data"].annotation if "data" in parameters else None
    error = invalid_field_at(path, message, body)
    return FieldError(error.pointer, error.detail)


def _code_of_status(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("'", "").replace("-", "_")


def _log_level(status: int) -> int:
    return 30 if status >= 500 else 20
