"""Uploads by tus 1.0.0: `POST /uploads`, then `PATCH`, `HEAD` and `DELETE` of what it returns.

With `GALLERY_UPLOAD__IETF` the same resources take the IETF's resumable uploads (`ietf_api`): a request is theirs by
its headers.
"""

from collections.abc import AsyncIterator
from typing import Any

from litestar import HttpMethod, Request, delete, get, patch, post, route
from litestar.datastructures import Headers
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response import Response

from gallery.access.model import PUBLIC, UPLOAD, Caller
from gallery.adapters.valkey.rates import UPLOADS
from gallery.errors import MethodNotOverridable, NotAChunk, TusVersionNotSupported
from gallery.images.model import ImageId
from gallery.images.schema import JSON
from gallery.settings import Settings
from gallery.uploads import ietf, ietf_api, tus
from gallery.uploads.direct import DirectUploads
from gallery.uploads.model import Protocol, Upload, parse_upload_id
from gallery.uploads.openapi import REFUSALS, TUS_BEGUN, TUS_ERRORS, TUS_SAFE, TusCreation, TusPatch
from gallery.uploads.responses import NO_STORE
from gallery.uploads.resumable import ResumableUploads
from gallery.uploads.schema import UnfinishedUploadView, unfinished_view
from gallery.uploads.service import parse_idempotency_key

CHUNK_TYPE = "application/offset+octet-stream"
HTTPRequest = Request[Any, Any, Any]


@route(
    "/",
    http_method=HttpMethod.OPTIONS,
    opt=PUBLIC | tus.ROUTE,
    status_code=204,
    include_in_schema=False,
)
async def describe(settings: NamedDependency[Settings]) -> Response[None]:
    """What this server knows of tus."""
    headers = {
        "Tus-Extension": tus.EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(tus.ALGORITHMS),
        "Tus-Max-Size": str(settings.upload.max_bytes),
        "Allow": "OPTIONS, POST",
    }
    if settings.upload.ietf:
        headers |= {"Accept-Patch": ietf.CONTENT_TYPE, "Upload-Limit": ietf.limits(settings.upload.max_bytes)}
    return Response(None, status_code=204, headers=headers)


@post(
    "/",
    opt=UPLOAD | UPLOADS | tus.ROUTE,
    operation_class=TusCreation,
    operation_id="createUpload",
    summary="Begin a resumable upload (tus)",
    responses={201: TUS_BEGUN, **REFUSALS, **TUS_ERRORS},
    request_max_body_size=None,
)
async def create(
    request: HTTPRequest,
    caller: NamedDependency[Caller],
    resumable_uploads: NamedDependency[ResumableUploads],
    ietf_services: NamedDependency[ietf_api.Services],
    settings: NamedDependency[Settings],
) -> Response[Any]:
    headers = request.headers
    if settings.upload.ietf and ietf.is_creation(headers):
        return await ietf_api.create(request, caller, ietf_services)
    _check_version(headers)
    tus.check_extensions(headers)
    key = parse_idempotency_key(headers.getall("idempotency-key", []))
    new = tus.parse_creation(headers.get("upload-length"), headers.get("upload-metadata"), key)
    upload = await resumable_uploads.create(caller, new)
    if _is_chunk(headers) and not upload.received and upload.outcome is None:
        upload = await resumable_uploads.append(caller, upload.id, 0, _chunk(request))
    location = {"Location": f"{settings.public_url}/api/v1/uploads/{upload.id}"}
    return _response(upload, settings, 201, location)


@patch(
    "/{upload_id:str}",
    opt=UPLOAD | tus.ROUTE,
    status_code=204,
    operation_class=TusPatch,
    operation_id="continueUpload",
    summary="Send the next bytes of an upload (tus)",
    responses={204: TUS_SAFE, **REFUSALS, **TUS_ERRORS},
    request_max_body_size=None,
)
async def append(
    request: HTTPRequest,
    upload_id: FromPath[str],
    caller: NamedDependency[Caller],
    resumable_uploads: NamedDependency[ResumableUploads],
    ietf_services: NamedDependency[ietf_api.Services],
    settings: NamedDependency[Settings],
) -> Response[None]:
    """By the IETF's protocol, the answer to the last bytes is the image, with 201, or 200 for a duplicate."""
    if settings.upload.ietf and ietf.is_append(request.headers):
        return await ietf_api.append(request, parse_upload_id(upload_id), caller, ietf_services)
    upload = await _append(request, parse_upload_id(upload_id), caller, resumable_uploads)
    return _response(upload, settings, 204)


@get(
    "/{upload_id:str}",
    opt=UPLOAD | tus.ROUTE,
    operation_id="getUpload",
    summary="Read how far an upload is",
    responses={
        200: ResponseSpec(UnfinishedUploadView, description="Its state", generate_examples=False),
        **REFUSALS,
    },
)
async def read(
    request: HTTPRequest,
    upload_id: FromPath[str],
    caller: NamedDependency[Caller],
    direct_uploads: NamedDependency[DirectUploads],
    ietf_services: NamedDependency[ietf_api.Services],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    """`HEAD` says the same in the headers of tus. An upload that was refused answers with the refusal, for a day."""
    _check_version(request.headers, required=False)
    id_ = parse_upload_id(upload_id)
    if settings.upload.ietf:
        await ietf_api.prepare_read(request, id_, caller, ietf_services)
    upload = await direct_uploads.read(caller, id_)
    if upload.protocol is Protocol.IETF:
        headers = ietf_api.state_headers(upload, caller, settings)
    else:
        headers = tus.upload_headers(upload, settings.public_url)
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(unfinished_view(upload), media_type=JSON, headers=headers | NO_STORE)


@delete(
    "/{upload_id:str}",
    opt=UPLOAD | tus.ROUTE,
    operation_id="cancelUpload",
    summary="Cancel an upload",
)
async def cancel(
    request: HTTPRequest,
    upload_id: FromPath[str],
    caller: NamedDependency[Caller],
    resumable_uploads: NamedDependency[ResumableUploads],
) -> None:
    """What has arrived is removed. The image of an upload that has ended stays."""
    _check_version(request.headers, required=False)
    await resumable_uploads.cancel(caller, parse_upload_id(upload_id))


@post("/{upload_id:str}", opt=UPLOAD | tus.ROUTE, status_code=204, include_in_schema=False, request_max_body_size=None)
async def overridden(
    request: HTTPRequest,
    upload_id: FromPath[str],
    caller: NamedDependency[Caller],
    resumable_uploads: NamedDependency[ResumableUploads],
    settings: NamedDependency[Settings],
) -> Response[None]:
    """For clients behind proxies that pass only `GET` and `POST`: `X-HTTP-Method-Override` names the method."""
    match request.headers.get("x-http-method-override", "").upper():
        case "PATCH":
            upload = await _append(request, parse_upload_id(upload_id), caller, resumable_uploads)
            return _response(upload, settings, 204)
        case "DELETE":
            await resumable_uploads.cancel(caller, parse_upload_id(upload_id))
            return Response(None, status_code=204)
        case _:
            raise MethodNotOverridable


HANDLERS = [describe, create, append, read, cancel, overridden]


async def _append(request: HTTPRequest, id_: ImageId, caller: Caller, uploads: ResumableUploads) -> Upload:
    _check_version(request.headers)
    if not _is_chunk(request.headers):
        raise NotAChunk
    offset = tus.parse_number("Upload-Offset", request.headers.get("upload-offset"))
    return await uploads.append(caller, id_, offset, _chunk(request))


def _check_version(headers: Headers, *, required: bool = True) -> None:
    """Clients that read the state as JSON name no version."""
    if headers.get("tus-resumable", "" if required else tus.VERSION) != tus.VERSION:
        raise TusVersionNotSupported(version=tus.VERSION)


def _is_chunk(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == CHUNK_TYPE


def _chunk(request: HTTPRequest) -> tus.Chunk:
    length = request.headers.get("content-length")
    size = None if length is None else tus.parse_number("Content-Length", length)
    return tus.Chunk(_body(request), request.headers.get("upload-checksum"), size)


async def _body(request: HTTPRequest) -> AsyncIterator[bytes]:
    async for block in request.stream():
        yield block


def _response(upload: Upload, settings: Settings, status: int, headers: dict[str, str] | None = None) -> Response[None]:
    all_headers = tus.upload_headers(upload, settings.public_url) | NO_STORE | (headers or {})
    return Response(None, status_code=status, headers=all_headers)
