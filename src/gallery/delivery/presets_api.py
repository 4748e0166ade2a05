"""The presets of pictures on demand over HTTP."""

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.response import Response

from gallery.access.model import READ_PUBLIC, Caller
from gallery.delivery.picture_requests import PictureRequests, PresetView


@get(
    "/",
    opt=READ_PUBLIC,
    operation_id="listPresets",
    summary="List the presets of pictures on demand",
)
async def list_presets(
    caller: NamedDependency[Caller], picture_requests: NamedDependency[PictureRequests]
) -> Response[list[PresetView]]:
    return Response(picture_requests.presets(caller), headers={"Cache-Control": "private, no-cache"})


def router() -> Router:
    return Router("/api/v1/presets", route_handlers=[list_presets], tags=["images"])
