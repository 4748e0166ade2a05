"""Images over HTTP. A handler reads the request, makes one call and returns a view."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.response import Response

from gallery.access.model import READS, SHOWS, WRITES, Caller
from gallery.adapters.rates import UPLOADS
from gallery.conditions import unchanged, versions
from gallery.images import bytes_api, question, schema
from gallery.images.answers import Answers
from gallery.images.cache import CachedImage
from gallery.images.form import read_form
from gallery.images.links import LinksView, LinksWish, Sharing
from gallery.images.model import id_from as _id
from gallery.images.operations import ListOperation, UploadOperation
from gallery.images.schema import DownloadView, ImageEdit, ImageView, UploadView
from gallery.images.service import DOWNLOAD, Images
from gallery.images.timeline import Entry
from gallery.images.uploads import Uploads, key_in, patience
from gallery.settings import Settings

JSON = "application/json"
MOST_JSON = 64 * 1024
KEPT = "Kept, at `Location`; a worker renders it now. `Idempotency-Replayed: true` says that it was answered before"
SAME = ResponseSpec(None, description="Not modified: `If-None-Match` has the present `ETag`")
CHANGED = ResponseSpec(None, description="The image has changed: `If-Match` has an older `ETag`")

Handled = Request[Any, Any, Any]


@post(
    "/",
    opt=WRITES | UPLOADS,
    operation_class=UploadOperation,
    operation_id="uploadImage",
    summary="Upload a photo",
    responses={
        201: ResponseSpec(UploadView, description=KEPT, generate_examples=False),
        200: ResponseSpec(UploadView, description="The image that has the same bytes already", generate_examples=False),
        409: ResponseSpec(None, description="A request with this idempotency key is still being answered"),
    },
    request_max_body_size=None,  # we count by ourselves, while it streams
)
async def upload(
    request: Handled,
    caller: NamedDependency[Caller],
    uploads: NamedDependency[Uploads],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    content_type, most = request.headers.get("content-type", ""), settings.upload.max_bytes
    form = read_form(_body(request), content_type, _length(request), most, schema.FIELDS)
    receipt = await uploads.take(caller, key_in(request.headers.getall("idempotency-key", [])), form)
    headers = {"Idempotency-Replayed": "true"} if receipt.replayed else {}
    wait = patience(request.headers.getall("prefer", []))
    if wait is not None:
        receipt = await uploads.settled(caller, receipt, wait)
        headers["Preference-Applied"] = f"wait={wait}"
    headers["ETag"] = f'"{receipt.said.version}"'
    headers["Location"] = f"{settings.public_url}/api/v1/images/{receipt.image}"
    headers["Cache-Control"] = "private, no-cache"
    return Response(receipt.body, media_type=JSON, status_code=receipt.status, headers=headers)


@get(
    "/",
    opt=READS,
    operation_class=ListOperation,
    operation_id="listImages",
    summary="List and search images, newest first",
    responses={200: ResponseSpec(list[ImageView], description="One page", generate_examples=False)},
)
async def page(
    request: Handled,
    caller: NamedDependency[Caller],
    answers: NamedDependency[Answers],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    asked = list(request.query_params.multi_items())
    found = await answers.page(caller, question.read(asked))
    headers = {"Cache-Control": "private, no-cache"}
    if found.next is not None:
        query = urlencode([*(part for part in asked if part[0] != "cursor"), ("cursor", found.next)])
        headers["Link"] = f'<{settings.public_url}/api/v1/images?{query}>; rel="next"'
    return Response(found.body, media_type=JSON, headers=headers)


@get(
    "/{image_id:str}",
    opt=SHOWS,
    operation_id="getImage",
    summary="Read an image",
    responses={
        200: ResponseSpec(ImageView, description="The image; its version is the `ETag`", generate_examples=False),
        304: SAME,
    },
)
async def read(
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    answers: NamedDependency[Answers],
    if_none_match: bytes_api.IfNoneMatch = None,
) -> Response[bytes]:
    entry = await answers.image(caller, _id(image_id))
    if unchanged(if_none_match, str(entry.version)):
        return Response(b"", status_code=304, headers=_tag(entry))
    return _image(entry, 200)


@patch(
    "/{image_id:str}",
    opt=WRITES,
    operation_id="editImage",
    summary="Change title, description, alt text or tags",
    responses={
        200: ResponseSpec(ImageView, description="The image as it is now", generate_examples=False),
        412: CHANGED,
    },
    request_max_body_size=MOST_JSON,
)
async def change(
    request: Handled,
    image_id: FromPath[str],
    data: JSONBody[ImageEdit],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    answers: NamedDependency[Answers],
) -> Response[bytes]:
    wanted = versions(request.headers.get("if-match"))
    return _image(answers.of(await images.edit(caller, _id(image_id), schema.edit(data), wanted)), 200)


@delete(
    "/{image_id:str}",
    opt=WRITES,
    status_code=200,
    operation_id="deleteImage",
    summary="Delete an image for good",
    responses={
        200: ResponseSpec(ImageView, description="The deleted image", generate_examples=False),
        412: CHANGED,
    },
)
async def remove(
    request: Handled,
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    answers: NamedDependency[Answers],
) -> Response[bytes]:
    wanted = versions(request.headers.get("if-match"))
    return _image(answers.of(await images.delete(caller, _id(image_id), wanted)), 200)


@get(
    "/{image_id:str}/download",
    opt=READS,
    operation_id="downloadImage",
    summary="Get a URL that downloads the original, for an hour",
)
async def download(
    request: Handled, image_id: FromPath[str], caller: NamedDependency[Caller], links: NamedDependency[Sharing]
) -> Response[DownloadView]:
    url = await links.download(caller, _id(image_id), str(request.base_url).rstrip("/"))
    view = DownloadView(url, int(DOWNLOAD.total_seconds()))
    return Response(view, headers={"Cache-Control": "no-store"})


@post(
    "/{image_id:str}/links",
    opt=READS,
    status_code=200,
    operation_id="signLinks",
    summary="Get signed URLs that need no credential",
    request_max_body_size=MOST_JSON,
)
async def share(
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    links: NamedDependency[Sharing],
    data: JSONBody[LinksWish | None] = None,
) -> Response[LinksView]:
    view = await links.of(caller, _id(image_id), data or LinksWish())
    return Response(view, headers={"Cache-Control": "no-store"})


@post(
    "/{image_id:str}/reprocess",
    opt=WRITES,
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
    answers: NamedDependency[Answers],
) -> Response[bytes]:
    return _image(answers.of(await images.reprocess(caller, _id(image_id))), 202)


@get(
    "/{image_id:str}/timeline",
    opt=READS,
    operation_id="readTimeline",
    summary="Read the history of an image, oldest entry first",
)
async def history(
    image_id: FromPath[str], caller: NamedDependency[Caller], images: NamedDependency[Images]
) -> Response[list[Entry]]:
    entries = await images.timeline(caller, _id(image_id))
    return Response(entries, headers={"Cache-Control": "private, no-cache"})


def router() -> Router:
    handlers = [upload, page, read, change, remove, download, share, reprocess, history]
    handlers += [bytes_api.original, bytes_api.rendition]
    return Router("/api/v1/images", route_handlers=handlers, tags=["images"])


async def _body(request: Handled) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


def _length(request: Handled) -> int | None:
    length = request.headers.get("content-length")
    return int(length) if length is not None else None


def _image(entry: CachedImage, status: int, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    return Response(entry.body, media_type=JSON, status_code=status, headers={**_tag(entry), **(headers or {})})


def _tag(entry: CachedImage) -> dict[str, str]:
    """The tag is the version and nothing else, so nobody may transform the answer: not even our own compression."""
    return {"ETag": f'"{entry.version}"', "Cache-Control": "private, no-cache, no-transform"}
