"""What load balancers, orchestrators and people ask to know whether this process is well."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Response

from gallery.access.model import LETS_IN
from gallery.adapters.valkey.rates import UNLIMITED
from gallery.errors import InvalidField
from gallery.ops.health import Health, memory
from gallery.validation import not_among
from gallery.web.middleware.overload import PROBE
from gallery.web.routing import QUIET

STARTED = time.monotonic()
OPT = LETS_IN | UNLIMITED | QUIET | PROBE


@get(
    "/health",
    opt=OPT,
    operation_id="health",
    summary="Status, uptime and memory of this process",
    tags=["operation"],
)
async def health() -> dict[str, Any]:
    return {
        "status": "ok",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "uptime": round(time.monotonic() - STARTED, 3),
        "memory": memory(),
    }


@get("/livez", opt=OPT, operation_id="livez", summary="Liveness: 200 while this process answers", tags=["operation"])
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@get(
    "/readyz",
    opt=OPT,
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
    if strangers := set(exclude or []) - set(health.needs):
        raise InvalidField("/exclude", not_among(min(strangers), health.needs))
    if health.leaving:
        return _not_now({"status": "draining"})
    if away := await health.away(exclude or []):
        reasons = {name: lack.reason for name, lack in away.items()}
        states = {name: lack.state for name, lack in away.items()}
        return _not_now({"status": "unavailable", "away": reasons, "states": states})
    return Response({"status": "ok"}, headers={"Cache-Control": "no-store"})


def _not_now(status: dict[str, Any]) -> Response[dict[str, Any]]:
    return Response(status, status_code=503, headers={"Cache-Control": "no-store", "Retry-After": "2"})
