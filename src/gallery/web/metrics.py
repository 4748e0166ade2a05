"""`/metrics` for Prometheus. For admins only, since it shows the size of the library and the load."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response

from gallery.access.model import ADMIN
from gallery.ops.exposition import exposition
from gallery.ops.readings import Readings
from gallery.web.routing import QUIET


@get(
    "/metrics",
    opt=ADMIN | QUIET,
    operation_id="getMetrics",
    summary="Metrics in the format of Prometheus",
    media_type="text/plain",
    responses={
        200: ResponseSpec(
            str, description="Prometheus text or OpenMetrics", media_type="text/plain", generate_examples=False
        )
    },
    tags=["operation"],
)
async def metrics(request: Request[Any, Any, Any], readings: NamedDependency[Readings]) -> Response[bytes]:
    text, media_type = await exposition(readings, ",".join(request.headers.getall("accept", [])))
    plain = media_type.removesuffix("; charset=utf-8")  # which Litestar adds
    return Response(text, media_type=plain, headers={"Cache-Control": "no-store"})
