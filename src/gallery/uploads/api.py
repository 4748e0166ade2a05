"""Uploads over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response

from gallery.access.model import UPLOAD, Caller
from gallery.adapters.valkey.rates import UPLOADS
from gallery.images.schema import JSON
from gallery.settings import Settings
from gallery.uploads.check_api import check_files
from gallery.uploads.form import read_form
from gallery.uploads.openapi import UploadOperation
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
    request_max_body_size=None,  # `read_form` counts while the body streams
)
async def upload(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    uploads: NamedDependency[Uploads],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    content_type, max_bytes = request.headers.get("content-type", ""), size_limit(caller, settings.upload.max_bytes)
    form = read_form(_body(request), content_type, _length(request), max_bytes, FORM_FIELDS, uploads.make_file)
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


async def _body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


def _length(request: Request[Any, Any, Any]) -> int | None:
    length = request.headers.get("content-length")
    return int(length) if length is not None else None
