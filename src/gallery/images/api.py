"""Images over HTTP. A handler reads the request, makes one call and returns a view."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from litestar import Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.response import Response

from gallery.access.model import READS, SHOWS, WRITES, Caller
from gallery.conditions import unchanged, versions
from gallery.images import list_query, schema
from gallery.images.cache import CachedImage
from gallery.images.cached_reads import Answers
from gallery.images.model import id_from as _id
from gallery.images.openapi import CHANGED, SAME, IfNoneMatch, ListOperation
from gallery.images.schema import JSON, MOST_JSON, ImageEdit, ImageView
from gallery.images.service import Images
from gallery.images.timeline import Entry
from gallery.settings import Settings

Handled = Request[Any, Any, Any]


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
    found = await answers.page(caller, list_query.read(asked))
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
    if_none_match: IfNoneMatch = None,
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


HANDLERS = [page, read, change, remove, reprocess, history]


def _image(entry: CachedImage, status: int, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    return Response(entry.body, media_type=JSON, status_code=status, headers={**_tag(entry), **(headers or {})})


def _tag(entry: CachedImage) -> dict[str, str]:
    """The tag is the version and nothing else, so nobody may transform the answer: not even our own compression."""
    return {"ETag": f'"{entry.version}"', "Cache-Control": "private, no-cache, no-transform"}
