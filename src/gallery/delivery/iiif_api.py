"""The IIIF Image API 3.0 over HTTP (https://iiif.io/api/image/3.0/), for viewers with deep zoom."""

from typing import Any

import msgspec
from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ASGIApp

from gallery.access.model import READ_PUBLIC, Caller
from gallery.delivery.iiif import CONTEXT, IiifRequest, image_information, picture_spec
from gallery.delivery.openapi import ConditionalOperation
from gallery.delivery.picture_requests import PictureRequests
from gallery.delivery.pictures import PicturesOnDemand
from gallery.delivery.pictures_api import respond_with_picture
from gallery.delivery.responses import (
    PICTURE_OPTIONS,
    RESPONSES,
    ConditionalHeaders,
    cache_control,
    object_headers,
    sharing_headers,
)
from gallery.delivery.service import Pictures
from gallery.errors import IiifRequestInvalid, ImageNotReady
from gallery.images.change_tokens import image_subject
from gallery.images.model import Image, parse_id
from gallery.images.reusable import ResponseKind, declare_subject
from gallery.images.service import Images
from gallery.settings import Settings

PREFIX = "/iiif/3"
PROFILE_LINK = '<http://iiif.io/api/image/3/level2.json>; rel="profile"'
JSON_LD = f'application/ld+json;profile="{CONTEXT}"'


@get(
    "/{image_id:str}",
    opt=READ_PUBLIC,
    operation_id="redirectToInformation",
    summary="Find the information about an image's picture",
    status_code=303,
)
async def redirect(
    request: Request[Any, Any, Any], image_id: FromPath[str], settings: NamedDependency[Settings]
) -> Response[None]:
    address = _address(request, settings, parse_id(image_id))
    return Response(None, status_code=303, headers={"Location": f"{address}/info.json"})


@get(
    "/{image_id:str}/info.json",
    opt=READ_PUBLIC,
    operation_id="readInformation",
    summary="Read the size, tiles and formats of an image's picture",
)
async def information(
    request: Request[Any, Any, Any],
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    picture_requests: NamedDependency[PictureRequests],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    id_ = parse_id(image_id)
    image = _ready(await images.get(caller, id_))
    document = image_information(image, _address(request, settings, id_), picture_requests.formats)
    accepts_json_ld = "application/ld+json" in request.headers.get("accept", "")
    headers = {"Link": PROFILE_LINK, "Vary": "Accept", "Cache-Control": cache_control(image, caller)}
    return Response(
        msgspec.json.encode(document),
        media_type=JSON_LD if accepts_json_ld else "application/json",
        headers=headers | _open_to_all(image),
    )


@get(
    "/{image_id:str}/{region:str}/{size:str}/{rotation:str}/{file:str}",
    opt=READ_PUBLIC | PICTURE_OPTIONS,
    operation_class=ConditionalOperation,
    operation_id="readRegion",
    summary="Read a region of the picture, such as full/max/0/default.jpg",
    responses=RESPONSES,
)
async def region_of_picture(
    request: Request[Any, Any, Any],
    image_id: FromPath[str],
    region: FromPath[str],
    size: FromPath[str],
    rotation: FromPath[str],
    file: FromPath[str],
    caller: NamedDependency[Caller],
    client: NamedDependency[str],
    images: NamedDependency[Images],
    stored_pictures: NamedDependency[Pictures],
    picture_requests: NamedDependency[PictureRequests],
    pictures_on_demand: NamedDependency[PicturesOnDemand],
    settings: NamedDependency[Settings],
) -> ASGIApp:
    id_ = parse_id(image_id)
    declare_subject(request.scope, ResponseKind.PICTURE, image_subject(id_))
    image = _ready(await images.get(caller, id_))
    quality, _, format_ = file.rpartition(".")
    wanted = IiifRequest(region, size, rotation, quality, format_)
    spec = picture_spec(wanted, image.width or 0, image.height or 0, picture_requests.recipe)
    if spec.format not in picture_requests.formats:
        raise IiifRequestInvalid("This format is not enabled here (GALLERY_PICTURES__FORMATS).")
    order = picture_requests.order_of(image, spec)
    address = f"{_address(request, settings, id_)}/{region}/{size}/{rotation}/{file}"
    headers = object_headers(f"{image.id}.{format_}", cache_control(image, caller)) | sharing_headers(image, caller)
    headers |= _open_to_all(image) | {"Link": f'{PROFILE_LINK}, <{address}>; rel="canonical"'}
    conditions = ConditionalHeaders.of(request)
    return await respond_with_picture(request, stored_pictures, pictures_on_demand, order, client, headers, conditions)


def router() -> Router:
    return Router(PREFIX, route_handlers=[redirect, information, region_of_picture], tags=["iiif"])


def _ready(image: Image) -> Image:
    """Raises `ImageNotReady`."""
    if image.width is None or image.height is None:
        raise ImageNotReady(image=image.id, status=image.status)
    return image


def _address(request: Request[Any, Any, Any], settings: Settings, image_id: str) -> str:
    base = settings.public_url or str(request.base_url).rstrip("/")
    return f"{base}{PREFIX}/{image_id}"


def _open_to_all(image: Image) -> dict[str, str]:
    """Viewers of any origin may read a public image."""
    return {"Access-Control-Allow-Origin": "*"} if image.public else {}
