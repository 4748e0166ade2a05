"""Images over HTTP. A handler reads the request, makes one call and returns a view."""

from typing import Any
from urllib.parse import urlencode

from litestar import Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.response import Response

from gallery.access.authorized import caller_of
from gallery.access.model import READ, READ_PUBLIC, READ_UPLOADED, WRITE, Caller
from gallery.access.service import Access
from gallery.access.signed_links import LinkSigner
from gallery.conditions import expected_versions, unchanged
from gallery.errors import UploadTicketNotEnough
from gallery.images import list_query, schema
from gallery.images.cache import CachedImage
from gallery.images.cached_reads import CachedReads
from gallery.images.change_tokens import image_subject, owner_subject
from gallery.images.model import parse_id as _id
from gallery.images.openapi import NOT_MODIFIED, PRECONDITION_FAILED, ChangeOperation, ImageOperation, ListOperation
from gallery.images.reusable import ResponseKind, declare_subject, end_reuse_at
from gallery.images.schema import JSON, MAX_JSON_BYTES, ImageEdit, ImageView
from gallery.images.service import Images
from gallery.images.signed_views import sign_image, sign_list
from gallery.images.timeline import TimelineEntry
from gallery.responses import CompleteResponse

HTTPRequest = Request[Any, Any, Any]


def reads(cached_reads: CachedReads, access: Access, public_url: str) -> list[HTTPRouteHandler]:
    """The reads of a list and of one image, which clients request most.

    They get no injected services: Litestar's injection costs as much as the read itself (decision 0121).
    """

    @get(
        "/",
        opt=READ_UPLOADED,
        operation_class=ListOperation,
        operation_id="listImages",
        summary="List and search images, newest first",
        responses={
            200: ResponseSpec(
                list[ImageView],
                description="One page; as long as there is a `Link` with `rel=next`, more may follow",
                generate_examples=False,
            )
        },
    )
    async def list_images(request: HTTPRequest) -> CompleteResponse:
        caller = caller_of(request.scope)
        declare_subject(request.scope, ResponseKind.LIST, owner_subject(caller.owner))
        parameters = list(request.query_params.multi_items())
        query = list_query.parse(parameters)
        result = await cached_reads.page(caller, query)
        signer = await _window_signer(request, access) if query.signed else None
        body = result.body if signer is None else sign_list(result.body, signer, public_url)
        headers = {"Content-Type": JSON, "Cache-Control": "private, no-cache"}
        if result.next is not None:
            next_page = urlencode([*(part for part in parameters if part[0] != "cursor"), ("cursor", result.next)])
            headers["Link"] = f'<{public_url}/api/v1/images?{next_page}>; rel="next"'
        return CompleteResponse(200, headers, body)

    @get(
        "/{image_id:str}",
        opt=READ_PUBLIC,
        operation_class=ImageOperation,
        operation_id="getImage",
        summary="Read an image",
        responses={
            200: ResponseSpec(ImageView, description="The image; its version is the `ETag`", generate_examples=False),
            304: NOT_MODIFIED,
        },
    )
    async def get_image(request: HTTPRequest, image_id: FromPath[str]) -> CompleteResponse:
        id_ = _id(image_id)
        signed = list_query.parse_signed(request.query_params.getall("signed", []))
        declare_subject(request.scope, ResponseKind.IMAGE, image_subject(id_))
        entry = await cached_reads.image(caller_of(request.scope), id_)
        signer = await _window_signer(request, access) if signed else None
        etag = str(entry.version) if signer is None else f"{entry.version}-{signer.tag}"
        headers = _validator_headers(etag)
        if unchanged(request.headers.get("if-none-match"), etag):
            return CompleteResponse(304, headers)
        body = entry.body if signer is None else sign_image(entry.body, signer, public_url)
        return CompleteResponse(200, {**headers, "Content-Type": JSON}, body)

    return [list_images, get_image]


@patch(
    "/{image_id:str}",
    opt=WRITE,
    operation_class=ChangeOperation,
    operation_id="editImage",
    summary="Change title, description, alt text, tags or focus",
    responses={
        200: ResponseSpec(ImageView, description="The image as it is now", generate_examples=False),
        412: PRECONDITION_FAILED,
    },
    request_max_body_size=MAX_JSON_BYTES,
)
async def edit(
    request: HTTPRequest,
    image_id: FromPath[str],
    data: JSONBody[ImageEdit],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    cached_reads: NamedDependency[CachedReads],
) -> Response[bytes]:
    wanted = expected_versions(request.headers.get("if-match"))
    return _image_response(
        cached_reads.encode(await images.edit(caller, _id(image_id), schema.parse_edit(data), wanted)), 200
    )


@delete(
    "/{image_id:str}",
    opt=WRITE,
    status_code=200,
    operation_class=ChangeOperation,
    operation_id="deleteImage",
    summary="Delete an image for good",
    responses={
        200: ResponseSpec(ImageView, description="The deleted image", generate_examples=False),
        412: PRECONDITION_FAILED,
    },
)
async def delete_image(
    request: HTTPRequest,
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    cached_reads: NamedDependency[CachedReads],
) -> Response[bytes]:
    wanted = expected_versions(request.headers.get("if-match"))
    return _image_response(cached_reads.encode(await images.delete(caller, _id(image_id), wanted)), 200)


@post(
    "/{image_id:str}/reprocess",
    opt=WRITE,
    status_code=202,
    operation_id="reprocessImage",
    summary="Render an image again",
    responses={
        202: ResponseSpec(
            ImageView,
            description="The image; a READY one stays READY until the new renditions are there",
            generate_examples=False,
        ),
        409: ResponseSpec(None, description="The image is PENDING or PROCESSING already"),
    },
)
async def reprocess(
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    cached_reads: NamedDependency[CachedReads],
) -> Response[bytes]:
    return _image_response(cached_reads.encode(await images.reprocess(caller, _id(image_id))), 202)


@get(
    "/{image_id:str}/timeline",
    opt=READ,
    operation_id="getTimeline",
    summary="Read the history of an image, oldest entry first",
)
async def timeline(
    image_id: FromPath[str], caller: NamedDependency[Caller], images: NamedDependency[Images]
) -> Response[list[TimelineEntry]]:
    entries = await images.timeline(caller, _id(image_id))
    return Response(entries, headers={"Cache-Control": "private, no-cache"})


HANDLERS = [edit, delete_image, reprocess, timeline]


async def _window_signer(request: HTTPRequest, access: Access) -> LinkSigner:
    """Signs URLs for the present window. The response is not repeated after it, nor with an older key.

    Raises `UploadTicketNotEnough`: the links would outlive the ticket.
    """
    caller = caller_of(request.scope)
    if caller.upload_ticket is not None:
        raise UploadTicketNotEnough(ticket=caller.ticket_id)
    signer = await access.links.window_signer()
    end_reuse_at(request.scope, signer.stable_until, access.links.key_check(signer))
    return signer


def _image_response(entry: CachedImage, status: int) -> Response[bytes]:
    return Response(entry.body, media_type=JSON, status_code=status, headers=_validator_headers(str(entry.version)))


def _validator_headers(etag: str) -> dict[str, str]:
    """The `ETag` is the same for all codings, so no proxy and no middleware may transform the answer."""
    return {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache, no-transform"}
