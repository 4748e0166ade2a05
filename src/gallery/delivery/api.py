"""The original and the renditions over HTTP."""

from pathlib import PurePosixPath
from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp

from gallery.access.model import SERVE, SERVE_ORIGINAL
from gallery.delivery.openapi import OriginalOperation, RenditionOperation
from gallery.delivery.requested_image import find_requested
from gallery.delivery.responses import (
    PICTURE_OPTIONS,
    RESPONSES,
    Representation,
    cache_control,
    object_headers,
    respond,
    sharing_headers,
)
from gallery.delivery.service import Pictures
from gallery.errors import RenditionNotFound
from gallery.images.kept_images import KeptImages

HTTPRequest = Request[Any, Any, Any]


def reads(images: KeptImages, pictures: Pictures) -> list[HTTPRouteHandler]:
    """The reads of stored pictures, without injected services (decision 0121)."""

    @get(
        "/{image_id:str}/original",
        opt=SERVE_ORIGINAL | PICTURE_OPTIONS,
        operation_class=OriginalOperation,
        operation_id="getOriginal",
        summary="Download the original file",
        responses=RESPONSES,
    )
    async def original(request: HTTPRequest, image_id: FromPath[str]) -> ASGIApp:
        image, caller = await find_requested(request.scope, images, image_id)
        name = image.original_name or image.id
        representation = Representation(image.original_key, image.mime_type, image.size, image.sha256)
        disposition = "attachment" if "download" in request.query_params else "inline"
        headers = object_headers(name, cache_control(image, caller), disposition=disposition)
        headers |= sharing_headers(image, caller)
        return await respond(request, pictures, representation, headers)

    @get(
        "/{image_id:str}/{file:str}",
        opt=SERVE | PICTURE_OPTIONS,
        operation_class=RenditionOperation,
        operation_id="getRendition",
        summary="Read a rendition, such as 960.webp",
        responses=RESPONSES,
    )
    async def rendition(request: HTTPRequest, image_id: FromPath[str], file: FromPath[str]) -> ASGIApp:
        image, caller = await find_requested(request.scope, images, image_id)
        name, _, format_ = file.partition(".")
        found = image.rendition(name, format_)
        if found is None:
            raise RenditionNotFound(image=image.id, file=file)
        etag = f"{image.rendered_attempt}-{image.recipe}-{file}"
        representation = Representation(image.rendition_key(found), f"image/{found.format}", found.size, etag)
        file_name = f"{PurePosixPath(image.original_name).stem or image.id}-{file}"
        current = image.recipe is not None and request.query_params.get("v") == image.recipe
        headers = object_headers(file_name, cache_control(image, caller, current=current))
        headers |= sharing_headers(image, caller)
        return await respond(request, pictures, representation, headers)

    return [original, rendition]
