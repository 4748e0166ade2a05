"""URLs that read one image without a credential, over HTTP."""

from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Response

from gallery.access.model import READS, Caller
from gallery.delivery.links import DownloadView, LinksView, LinksWish, Sharing
from gallery.delivery.service import DOWNLOAD
from gallery.images.model import id_from as _id
from gallery.images.schema import MOST_JSON


@get(
    "/{image_id:str}/download",
    opt=READS,
    operation_id="downloadImage",
    summary="Get a URL that downloads the original, for an hour",
)
async def download(
    request: Request[Any, Any, Any],
    image_id: FromPath[str],
    caller: NamedDependency[Caller],
    links: NamedDependency[Sharing],
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


HANDLERS = [download, share]
