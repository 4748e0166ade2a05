"""Uploads over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response

from gallery.access.model import WRITE, Caller
from gallery.adapters.valkey.rates import UPLOADS
from gallery.images.schema import JSON
from gallery.settings import Settings
from gallery.uploads.form import read_form
from gallery.uploads.openapi import UploadOperation
from gallery.uploads.schema import FORM_FIELDS, UploadView
from gallery.uploads.service import Uploads, parse_idempotency_key, preferred_wait_seconds

CREATED_DESCRIPTION = (
    "Kept, at `Location`; a worker renders it now. `Idempotency-Replayed: true` says that it was answered before"
)


@post(
    "/",
    opt=WRITE | UPLOADS,
    operation_class=UploadOperation,
    operation_id="uploadImage",
    summary="Upload a photo",
    responses={
        201: ResponseSpec(UploadView, description=CREATED_DESCRIPTION, generate_examples=False),
        200: ResponseSpec(UploadView, description="The image that has the same bytes already", generate_examples=False),
        409: ResponseSpec(None, description="A request with this idempotency key is still being answered"),
    },
    request_max_body_size=None,  # we count by ourselves, while it streams
)
async def upload(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    uploads: NamedDependency[Uploads],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    content_type, max_bytes = request.headers.get("content-type", ""), settings.upload.max_bytes
    form = read_form(_body(request), content_type, _length(request), max_bytes, FORM_FIELDS)
    receipt = await uploads.receive(caller, parse_idempotency_key(request.headers.getall("idempotency-key", [])), form)
    headers = {"Idempotency-Replayed": "true"} if receipt.replayed else {}
    wait = preferred_wait_seconds(request.headers.getall("prefer", []))
    if wait is not None:
        receipt = await uploads.wait_until_settled(caller, receipt, wait)
        headers["Preference-Applied"] = f"wait={wait}"
    headers["ETag"] = f'"{receipt.state.version}"'
    headers["Location"] = f"{settings.public_url}/api/v1/images/{receipt.image}"
    headers["Cache-Control"] = "private, no-cache"
    return Response(receipt.body, media_type=JSON, status_code=receipt.status, headers=headers)


HANDLERS = [upload]


async def _body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


def _length(request: Request[Any, Any, Any]) -> int | None:
    length = request.headers.get("content-length")
    return int(length) if length is not None else None
