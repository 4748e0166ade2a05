"""Uploads directly to the store: `POST /uploads/direct`, a `PUT` of each part, `POST /uploads/{id}/complete`."""

from typing import Any

from litestar import Request, Response, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET

from gallery.access.model import PUBLIC, UPLOAD, Caller
from gallery.adapters.valkey.rates import UPLOADS
from gallery.errors import LongerThanSaid
from gallery.images.schema import MAX_JSON_BYTES
from gallery.images.service import Images
from gallery.local_disk.space import translate_disk_full
from gallery.settings import Settings
from gallery.uploads.digests import parse_sha256
from gallery.uploads.direct import DirectUploads
from gallery.uploads.form import clean_name
from gallery.uploads.model import NewUpload, Protocol, parse_upload_id
from gallery.uploads.openapi import BUSY, NO_PICTURE, REFUSALS, DirectOperation, PartOperation
from gallery.uploads.responses import NO_STORE, image_response
from gallery.uploads.schema import DirectUploadRequest, DirectUploadView, UploadView
from gallery.uploads.service import parse_idempotency_key

HTTPRequest = Request[Any, Any, Any]


@post(
    "/direct",
    opt=UPLOAD | UPLOADS,
    operation_class=DirectOperation,
    operation_id="createDirectUpload",
    summary="Begin an upload directly to the store",
    responses={
        201: ResponseSpec(DirectUploadView, description="Begun, at `Location`", generate_examples=False),
        415: NO_PICTURE,
        423: BUSY,
    },
    request_max_body_size=MAX_JSON_BYTES,
)
async def create(
    request: HTTPRequest,
    caller: NamedDependency[Caller],
    direct_uploads: NamedDependency[DirectUploads],
    settings: NamedDependency[Settings],
    data: JSONBody[DirectUploadRequest],
) -> Response[DirectUploadView]:
    """Put each part's bytes by its URL, in any order and again if need be, and then request `complete`."""
    new = NewUpload(
        protocol=Protocol.DIRECT,
        size=data.size,
        file_name=clean_name(data.name),
        fields=data.fields,
        sha256=parse_sha256(data.sha256) if data.sha256 else None,
        idempotency_key=parse_idempotency_key(request.headers.getall("idempotency-key", [])),
    )
    upload, parts = await direct_uploads.create(caller, new)
    location = f"{settings.public_url}/api/v1/uploads/{upload.id}"
    image = UNSET if upload.outcome is None or upload.outcome.image is None else upload.outcome.image
    view = DirectUploadView(
        id=upload.id, parts=parts, expires_at=upload.expires_at, complete=f"{location}/complete", image=image
    )
    return Response(view, status_code=201, headers={"Location": location, **NO_STORE})


@put(
    "/{upload_id:str}/parts/{number:int}",
    opt=PUBLIC,
    operation_class=PartOperation,
    operation_id="putUploadPart",
    summary="Put a part, by the URL that `createDirectUpload` has returned",
    responses={
        200: ResponseSpec(None, description="The part is safe"),
        400: ResponseSpec(None, description="The body is shorter than the part"),
        413: ResponseSpec(None, description="The body is longer than the part"),
    },
    request_max_body_size=None,
)
async def put_part(
    request: HTTPRequest,
    upload_id: FromPath[str],
    number: FromPath[int],
    direct_uploads: NamedDependency[DirectUploads],
    kid: FromQuery[str] = "",
    exp: FromQuery[str] = "",
    sig: FromQuery[str] = "",
) -> Response[None]:
    part = await direct_uploads.verify_part(parse_upload_id(upload_id), number, kid, exp, sig)
    received = 0
    with translate_disk_full(), direct_uploads.make_file(part.upload) as file:
        async for block in request.stream():
            received += len(block)
            if received > part.size:
                raise LongerThanSaid(size=part.size)
            file.write(block)
        stored = await direct_uploads.put_part(part, file)
    return Response(None, headers={"ETag": f'"{stored.etag or number}"', **NO_STORE})


@post(
    "/{upload_id:str}/complete",
    opt=UPLOAD,
    operation_id="completeUpload",
    summary="Complete an upload whose parts are all in the store",
    responses={
        201: ResponseSpec(UploadView, description="The image, at `Location`", generate_examples=False),
        200: ResponseSpec(UploadView, description="Your image with the same bytes", generate_examples=False),
        202: ResponseSpec(None, description="Still being checked: ask at `Location`"),
        **REFUSALS,
        409: ResponseSpec(None, description="Parts are missing"),
    },
)
async def complete(
    upload_id: FromPath[str],
    caller: NamedDependency[Caller],
    direct_uploads: NamedDependency[DirectUploads],
    images: NamedDependency[Images],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    """Length, hash and content are checked first. May be repeated: the answer is the same for a day."""
    id_ = parse_upload_id(upload_id)
    upload = await direct_uploads.complete(caller, id_)
    if upload is None or upload.outcome is None or upload.outcome.image is None:
        location = {"Location": f"{settings.public_url}/api/v1/uploads/{id_}", "Retry-After": "1"}
        return Response(b"", status_code=202, headers=location | NO_STORE)
    return await image_response(upload, caller, images, settings.public_url)


HANDLERS = [create, put_part, complete]
