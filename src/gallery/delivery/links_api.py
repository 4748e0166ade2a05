"""The calls that return signed URLs."""

from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Response

from gallery.access.model import READ, Caller
from gallery.delivery.links import DownloadView, ImageLinks, ImageLinksView, LinksRequest, LinksView, ManyLinksRequest
from gallery.delivery.service import DOWNLOAD_TTL
from gallery.images.model import parse_id as _id
from gallery.images.schema import MAX_JSON_BYTES


@get(
    "/{image_id:str}/download",
    opt=READ,
    operation_id="getDownloadLink",
    summary="Get a URL that downloads the original, for an hour",
)
async def download(
    request: Request[Any, Any, Any],
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    links: NamedDependency[ImageLinks],
) -> Response[DownloadView]:
    url = await links.download_url(caller, _id(image_id), str(request.base_url).rstrip("/"))
    view = DownloadView(url, int(DOWNLOAD_TTL.total_seconds()))
    return Response(view, headers={"Cache-Control": "no-store"})


@post(
    "/{image_id:str}/links",
    opt=READ,
    status_code=200,
    operation_id="signLinks",
    summary="Get signed URLs that need no credential",
    request_max_body_size=MAX_JSON_BYTES,
)
async def sign_links(
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    links: NamedDependency[ImageLinks],
    data: JSONBody[LinksRequest | None] = None,
) -> Response[LinksView]:
    view = await links.sign(caller, _id(image_id), data or LinksRequest())
    return Response(view, headers={"Cache-Control": "no-store"})


@post(
    "/links",
    opt=READ,
    status_code=200,
    operation_id="signManyLinks",
    summary="Get signed URLs of up to 200 images",
    request_max_body_size=MAX_JSON_BYTES,
)
async def sign_many_links(
    caller: NamedDependency[Caller], links: NamedDependency[ImageLinks], data: JSONBody[ManyLinksRequest]
) -> Response[list[ImageLinksView]]:
    """Ids of images that do not exist, or that the caller may not see, are left out."""
    return Response(await links.sign_many(caller, data), headers={"Cache-Control": "no-store"})


HANDLERS = [download, sign_links, sign_many_links]
