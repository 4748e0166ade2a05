"""Health, liveness and readiness of this process, for load balancers, orchestrators and people."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Response

from gallery.access.model import PUBLIC
from gallery.adapters.valkey.rates import UNLIMITED
from gallery.errors import InvalidField
from gallery.ops.health import Health, memory_usage
from gallery.validation import not_among_message
from gallery.web.middleware.overload import PROBE_OPT
from gallery.web.routing import QUIET

STARTED_AT = time.monotonic()
PROBE_ROUTE = PUBLIC | UNLIMITED | QUIET | PROBE_OPT


@get(
    "/health",
    opt=PROBE_ROUTE,
    operation_id="health",
    summary="Status, uptime and memory of this process",
    tags=["operation"],
)
async def health() -> dict[str, Any]:
    return {
        "status": "ok",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "uptime": round(time.monotonic() - STARTED_AT, 3),
        "memory": memory_usage(),
    }


@get(
    "/livez",
    opt=PROBE_ROUTE,
    operation_id="livez",
    summary="Liveness: 200 while this process answers",
    tags=["operation"],
)
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@get(
    "/readyz",
    opt=PROBE_ROUTE,
    operation_id="readyz",
    summary="Readiness: 503 names the server that is unavailable",
    tags=["operation"],
)
async def readyz(
    health: NamedDependency[Health],
    exclude: Annotated[
        list[str] | None, QueryParameter(description="Servers that may be unavailable, e.g. `valkey`")
    ] = None,
) -> Response[dict[str, Any]]:
    if unknown := set(exclude or []) - set(health.dependencies):
        raise InvalidField("/exclude", not_among_message(min(unknown), health.dependencies))
    if health.draining:
        return _unavailable({"status": "draining"})
    if unavailable := await health.failures(exclude or []):
        reasons = {name: failure.reason for name, failure in unavailable.items()}
        states = {name: failure.state for name, failure in unavailable.items()}
        return _unavailable({"status": "unavailable", "away": reasons, "states": states})
    return Response({"status": "ok"}, headers={"Cache-Control": "no-store"})


def _unavailable(status: dict[str, Any]) -> Response[dict[str, Any]]:
    return Response(status, status_code=503, headers={"Cache-Control": "no-store", "Retry-After": "2"})
