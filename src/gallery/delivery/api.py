"""The original and the renditions over HTTP."""

from pathlib import PurePosixPath
from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Response

from gallery.access.model import SERVE, SERVE_ORIGINAL, Caller
from gallery.delivery.responses import (
    PICTURE_OPTIONS,
    RESPONSES,
    ConditionalHeaders,
    IfRangeHeader,
    RangeHeader,
    Representation,
    cache_control,
    object_headers,
    respond,
    sharing_headers,
)
from gallery.delivery.service import Pictures
from gallery.errors import RenditionNotFound
from gallery.images.change_tokens import image_subject
from gallery.images.model import parse_id
from gallery.images.openapi import IfNoneMatchHeader
from gallery.images.reusable import ResponseKind, declare_subject
from gallery.images.service import Images


@get(
    "/{image_id:str}/original",
    opt=SERVE_ORIGINAL | PICTURE_OPTIONS,
    operation_id="readOriginal",
    summary="Download the original file",
    responses=RESPONSES,
)
async def original(
    request: Request[Any, Any, Any],
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    stored_pictures: NamedDependency[Pictures],
    download: Annotated[
        str | None, QueryParameter(description="With any value, a browser saves the file instead of showing it")
    ] = None,
    if_none_match: IfNoneMatchHeader = None,
    range_header: RangeHeader = None,
    if_range: IfRangeHeader = None,
) -> Response[Any]:
    id_ = parse_id(image_id)
    declare_subject(request.scope, ResponseKind.PICTURE, image_subject(id_))
    image = await images.get(caller, id_)
    name = image.original_name or image.id
    representation = Representation(image.original_key, image.mime_type, image.size, image.sha256)
    headers = object_headers(
        name, cache_control(image, caller), disposition="inline" if download is None else "attachment"
    )
    headers |= sharing_headers(image, caller)
    return await respond(
        request, stored_pictures, representation, headers, ConditionalHeaders(if_none_match, range_header, if_range)
    )


@get(
    "/{image_id:str}/{file:str}",
    opt=SERVE | PICTURE_OPTIONS,
    operation_id="readRendition",
    summary="Read a rendition, such as 960.webp",
    responses=RESPONSES,
)
async def rendition(
    request: Request[Any, Any, Any],
    image_id: FromPath[str],
    file: FromPath[str],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    stored_pictures: NamedDependency[Pictures],
    v: Annotated[
        str | None,
        QueryParameter(description="The recipe's version; with the current one, the answer may be cached for ever"),
    ] = None,
    if_none_match: IfNoneMatchHeader = None,
    range_header: RangeHeader = None,
    if_range: IfRangeHeader = None,
) -> Response[Any]:
    id_ = parse_id(image_id)
    declare_subject(request.scope, ResponseKind.PICTURE, image_subject(id_))
    image = await images.get(caller, id_)
    name, _, format_ = file.partition(".")
    found = image.rendition(name, format_)
    if found is None:
        raise RenditionNotFound(image=image.id, file=file)
    etag = f"{image.rendered_attempt}-{image.recipe}-{file}"
    representation = Representation(image.rendition_key(found), f"image/{found.format}", found.size, etag)
    file_name = f"{PurePosixPath(image.original_name).stem or image.id}-{file}"
    current = v is not None and v == image.recipe
    headers = object_headers(file_name, cache_control(image, caller, current=current))
    headers |= sharing_headers(image, caller)
    return await respond(
        request, stored_pictures, representation, headers, ConditionalHeaders(if_none_match, range_header, if_range)
    )


HANDLERS = [original, rendition]
