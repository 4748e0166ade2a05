"""The IIIF Image API 3.0 over HTTP (https://iiif.io/api/image/3.0/), for viewers with deep zoom."""

from typing import Any

from litestar import Request, Router, get
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ASGIApp

from gallery.access.model import READ_PUBLIC
from gallery.delivery.iiif import (
    CONTEXT,
    IiifRequest,
    compliance_level,
    enabled_formats,
    image_information,
    picture_spec,
)
from gallery.delivery.openapi import ConditionalOperation
from gallery.delivery.picture_maker import PictureOrder
from gallery.delivery.picture_requests import PictureRequests
from gallery.delivery.pictures_api import PictureResponses
from gallery.delivery.requested_image import find_requested
from gallery.delivery.responses import PICTURE_OPTIONS, RESPONSES, cache_control, object_headers, sharing_headers
from gallery.errors import IiifRequestInvalid, ImageNotReady
from gallery.images.kept_images import KeptImages
from gallery.images.model import Image, parse_id
from gallery.rendering.probe import Format

HTTPRequest = Request[Any, Any, Any]
PREFIX = "/iiif/3"
JSON_LD = f'application/ld+json;profile="{CONTEXT}"'


def router(
    images: KeptImages, picture_requests: PictureRequests, responses: PictureResponses, public_url: str
) -> Router:
    """The calls of the standard, without injected services (decision 0121)."""
    formats = enabled_formats(picture_requests.formats)
    profile_link = f'<http://iiif.io/api/image/3/{compliance_level(formats)}.json>; rel="profile"'

    @get(
        "/{image_id:str}",
        opt=READ_PUBLIC,
        operation_id="redirectToIiifInformation",
        summary="Find the information about an image's picture",
        status_code=303,
    )
    async def redirect(request: HTTPRequest, image_id: FromPath[str]) -> Response[None]:
        address = _address(request, public_url, parse_id(image_id))
        return Response(None, status_code=303, headers={"Location": f"{address}/info.json"})

    @get(
        "/{image_id:str}/info.json",
        opt=READ_PUBLIC,
        operation_id="getIiifInformation",
        summary="Read the size, tiles and formats of an image's picture",
    )
    async def information(request: HTTPRequest, image_id: FromPath[str]) -> Response[dict[str, Any]]:
        image, caller = await find_requested(request.scope, images, image_id)
        document = image_information(_ready(image), _address(request, public_url, image.id), formats)
        accepts_json_ld = "application/ld+json" in request.headers.get("accept", "")
        headers = {"Link": profile_link, "Vary": "Accept", "Cache-Control": cache_control(image, caller)}
        return Response(
            document,
            media_type=JSON_LD if accepts_json_ld else "application/json",
            headers=headers | _open_to_all(image),
        )

    @get(
        "/{image_id:str}/{region:str}/{size:str}/{rotation:str}/{file:str}",
        opt=READ_PUBLIC | PICTURE_OPTIONS,
        operation_class=ConditionalOperation,
        operation_id="getIiifRegion",
        summary="Read a region of the picture, such as full/max/0/default.jpg",
        responses=RESPONSES,
    )
    async def region_of_picture(
        request: HTTPRequest,
        image_id: FromPath[str],
        region: FromPath[str],
        size: FromPath[str],
        rotation: FromPath[str],
        file: FromPath[str],
    ) -> ASGIApp:
        image, caller = await find_requested(request.scope, images, image_id)
        quality, _, format_ = file.rpartition(".")
        wanted = IiifRequest(region, size, rotation, quality, format_)
        order = _order(_ready(image), wanted, formats, picture_requests)
        address = f"{_address(request, public_url, image.id)}/{region}/{size}/{rotation}/{file}"
        headers = object_headers(f"{image.id}.{format_}", cache_control(image, caller)) | sharing_headers(image, caller)
        headers |= _open_to_all(image) | {"Link": f'{profile_link}, <{address}>; rel="canonical"'}
        return await responses.respond(request, order, headers)

    return Router(PREFIX, route_handlers=[redirect, information, region_of_picture], tags=["iiif"])


def _order(image: Image, wanted: IiifRequest, formats: list[Format], picture_requests: PictureRequests) -> PictureOrder:
    """Raises `IiifRequestInvalid`, `IiifNotSupported`."""
    spec = picture_spec(wanted, image.width or 0, image.height or 0, picture_requests.recipe)
    if spec.format not in formats:
        raise IiifRequestInvalid("This format is not enabled here (GALLERY_PICTURES__FORMATS).")
    return picture_requests.order_of(image, spec)


def _ready(image: Image) -> Image:
    """Raises `ImageNotReady`."""
    if image.width is None or image.height is None:
        raise ImageNotReady(image=image.id, status=image.status)
    return image


def _address(request: HTTPRequest, public_url: str, image_id: str) -> str:
    base = public_url or str(request.base_url).rstrip("/")
    return f"{base}{PREFIX}/{image_id}"


def _open_to_all(image: Image) -> dict[str, str]:
    """Viewers of any origin may read a public image."""
    return {"Access-Control-Allow-Origin": "*"} if image.public else {}
