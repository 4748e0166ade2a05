"""Uploads over HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, BinaryIO

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response

from gallery.access.model import UPLOAD, Caller
from gallery.adapters.valkey.rates import UPLOADS
from gallery.images.schema import JSON
from gallery.settings import Settings
from gallery.uploads.check_api import check_files
from gallery.uploads.digests import DIGEST_HEADERS
from gallery.uploads.form import Form, read_form
from gallery.uploads.openapi import UploadOperation
from gallery.uploads.raw import is_raw, parse_head, read_raw
from gallery.uploads.schema import FORM_FIELDS, UploadView
from gallery.uploads.service import Uploads, parse_idempotency_key, preferred_wait_seconds
from gallery.uploads.tickets import size_limit

CREATED_DESCRIPTION = (
    "Stored, at `Location`; a worker renders it now. `Idempotency-Replayed: true`: the answer to an earlier request"
)


@post(
    "/",
    opt=UPLOAD | UPLOADS,
    operation_class=UploadOperation,
    operation_id="uploadImage",
    summary="Upload a photo",
    responses={
        201: ResponseSpec(UploadView, description=CREATED_DESCRIPTION, generate_examples=False),
        200: ResponseSpec(UploadView, description="Your image with the same bytes", generate_examples=False),
        409: ResponseSpec(None, description="A request with this idempotency key is still being answered"),
    },
    request_max_body_size=None,  # `_read` counts while the body streams
)
async def upload(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    uploads: NamedDependency[Uploads],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    """As a form, or as the bytes alone: then `Content-Type` is `image/jpeg`, another `image/…` or
    `application/octet-stream`, the fields are in the query, and the name is in `Content-Disposition`.
    """
    form = _read(request, size_limit(caller, settings.upload.max_bytes), uploads.make_file)
    key = parse_idempotency_key(request.headers.getall("idempotency-key", []))
    response = await uploads.receive(caller, key, form)
    headers = {"Idempotency-Replayed": "true"} if response.replayed else {}
    wait = preferred_wait_seconds(request.headers.getall("prefer", []))
    if wait is not None:
        response = await uploads.wait_until_settled(caller, response, wait)
        headers["Preference-Applied"] = f"wait={wait}"
    headers["ETag"] = f'"{response.state.version}"'
    headers["Location"] = f"{settings.public_url}/api/v1/images/{response.image}"
    headers["Cache-Control"] = "private, no-cache"
    return Response(response.body, media_type=JSON, status_code=response.status, headers=headers)


HANDLERS = [upload, check_files]


def _read(
    request: Request[Any, Any, Any], max_bytes: int, make_file: Callable[[], BinaryIO]
) -> AbstractAsyncContextManager[Form]:
    """The form in the request: a multipart body, or a raw one with its fields in the query.

    Raises `InvalidField`, `InvalidHeader` for a raw body's query and headers.
    """
    headers, body, length = request.headers, _body(request), _length(request)
    content_type = headers.get("content-type", "")
    if not is_raw(content_type):
        return read_form(body, content_type, length, max_bytes, FORM_FIELDS, make_file)
    digests = {name: headers.getall(name, []) for name in DIGEST_HEADERS}
    form = parse_head(request.scope["query_string"], headers.getall("content-disposition", []), digests, FORM_FIELDS)
    return read_raw(body, form, length, max_bytes, make_file)


async def _body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


def _length(request: Request[Any, Any, Any]) -> int | None:
    length = request.headers.get("content-length")
    return int(length) if length is not None else None
