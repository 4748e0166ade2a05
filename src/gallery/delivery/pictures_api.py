"""Pictures on demand over HTTP: `GET /images/{id}/picture?w=800&h=600&fit=cover`."""

from pathlib import PurePosixPath
from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from gallery.access.model import SERVE_PICTURE, Caller
from gallery.delivery.openapi import PictureOperation
from gallery.delivery.picture_maker import PictureOrder
from gallery.delivery.picture_requests import PictureRequests, RequestedPicture
from gallery.delivery.picture_store import PictureRow
from gallery.delivery.pictures import PicturesOnDemand
from gallery.delivery.responses import (
    PICTURE_OPTIONS,
    RESPONSES,
    ConditionalHeaders,
    Representation,
    cache_control,
    object_headers,
    respond,
    sharing_headers,
)
from gallery.delivery.service import Pictures
from gallery.errors import ObjectDamaged, ObjectNotFound
from gallery.images.change_tokens import image_subject
from gallery.images.model import Image, parse_id
from gallery.images.reusable import ResponseKind, declare_subject
from gallery.images.service import Images


@get(
    "/{image_id:str}/picture",
    opt=SERVE_PICTURE | PICTURE_OPTIONS,
    operation_id="readPicture",
    operation_class=PictureOperation,
    summary="Read the picture in any size, crop and format",
    responses=RESPONSES,
)
async def picture(
    request: Request[Any, Any, Any],
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    client: NamedDependency[str],
    images: NamedDependency[Images],
    stored_pictures: NamedDependency[Pictures],
    picture_requests: NamedDependency[PictureRequests],
    pictures_on_demand: NamedDependency[PicturesOnDemand],
) -> ASGIApp:
    id_ = parse_id(image_id)
    query = picture_requests.parse(request.scope["query_string"])
    declare_subject(request.scope, ResponseKind.PICTURE, image_subject(id_))
    image = await images.get(caller, id_)
    order = picture_requests.order(caller, image, query, request.headers.get("accept", ""))
    headers = _headers(image, caller, order, query, picture_requests.version(image))
    conditions = ConditionalHeaders.of(request)
    return await respond_with_picture(request, stored_pictures, pictures_on_demand, order, client, headers, conditions)


HANDLERS = [picture]


async def respond_with_picture(
    request: Request[Any, Any, Any],
    pictures: Pictures,
    pictures_on_demand: PicturesOnDemand,
    order: PictureOrder,
    client: str,
    headers: dict[str, str],
    conditions: ConditionalHeaders,
) -> ASGIApp:
    """The kept picture, made now if need be. Raises as `PicturesOnDemand.get` does."""
    row = await pictures_on_demand.get(order, client)
    try:
        return await respond(request, pictures, _representation(order, row), headers, conditions)
    except (ObjectNotFound, ObjectDamaged):  # lost in the object store: it can be made again
        row = await pictures_on_demand.get_again(order, row, client)
        return await respond(request, pictures, _representation(order, row), headers, conditions)


def _representation(order: PictureOrder, row: PictureRow) -> Representation:
    """A picture that was evicted and is made again has another claim, and so another `ETag`."""
    return Representation(str(row.key), f"image/{order.spec.format}", row.size, row.claim)


def _headers(
    image: Image, caller: Caller, order: PictureOrder, query: RequestedPicture, version: str
) -> dict[str, str]:
    stem = PurePosixPath(image.original_name).stem or image.id
    current = query.version == version
    headers = object_headers(f"{stem}.{order.spec.format}", cache_control(image, caller, current=current))
    vary = {"Vary": "Accept"} if query.varies else {}
    return headers | sharing_headers(image, caller) | vary
