"""Pictures on demand over HTTP: `GET /images/{id}/picture?w=800&h=600&fit=cover`."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp, HTTPScope

from gallery.access.model import SERVE_PICTURE
from gallery.delivery.openapi import PictureOperation
from gallery.delivery.picture_maker import PictureOrder
from gallery.delivery.picture_requests import PictureRequests
from gallery.delivery.picture_store import PictureRow
from gallery.delivery.pictures import PicturesOnDemand
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
from gallery.errors import ObjectDamaged, ObjectNotFound
from gallery.images.kept_images import KeptImages

HTTPRequest = Request[Any, Any, Any]
ClientOf: TypeAlias = Callable[[HTTPScope], str]


class PictureResponses:
    """Responses with a picture on demand. `client_of` names the client of a request, at whose expense it is made."""

    def __init__(self, on_demand: PicturesOnDemand, pictures: Pictures, client_of: ClientOf) -> None:
        self._on_demand = on_demand
        self._pictures = pictures
        self._client_of = client_of

    async def respond(self, request: HTTPRequest, order: PictureOrder, headers: dict[str, str]) -> ASGIApp:
        """The kept picture, made now if need be. Raises as `PicturesOnDemand.get` does."""
        client = self._client_of(request.scope)
        row = await self._on_demand.get(order, client)
        try:
            return await respond(request, self._pictures, _representation(order, row), headers)
        except (ObjectNotFound, ObjectDamaged):  # lost in the object store: it can be made again
            row = await self._on_demand.get_again(order, row, client)
            return await respond(request, self._pictures, _representation(order, row), headers)


def reads(images: KeptImages, picture_requests: PictureRequests, responses: PictureResponses) -> list[HTTPRouteHandler]:
    """The read of a picture on demand, without injected services (decision 0121)."""

    @get(
        "/{image_id:str}/picture",
        opt=SERVE_PICTURE | PICTURE_OPTIONS,
        operation_id="getPicture",
        operation_class=PictureOperation,
        summary="Read the picture in any size, crop and format",
        responses=RESPONSES,
    )
    async def picture(request: HTTPRequest, image_id: FromPath[str]) -> ASGIApp:
        query = picture_requests.parse(request.scope["query_string"])
        image, caller = await find_requested(request.scope, images, image_id)
        order = picture_requests.order(caller, image, query, request.headers.get("accept", ""))
        name = f"{PurePosixPath(image.original_name).stem or image.id}.{order.spec.format}"
        current = query.version == picture_requests.version(image)
        headers = object_headers(name, cache_control(image, caller, current=current)) | sharing_headers(image, caller)
        if query.varies:
            headers["Vary"] = "Accept"
        return await responses.respond(request, order, headers)

    return [picture]


def _representation(order: PictureOrder, row: PictureRow) -> Representation:
    """A picture that was evicted and is made again has another claim, and so another `ETag`."""
    return Representation(str(row.key), f"image/{order.spec.format}", row.size, row.claim)
