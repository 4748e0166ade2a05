"""Health, liveness and readiness of this process, for load balancers, orchestrators and people."""

import time
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Response
from msgspec import UNSET, Struct, UnsetType

from gallery.access.model import PUBLIC
from gallery.adapters.valkey.rates import UNLIMITED
from gallery.errors import InvalidField
from gallery.ops.health import Health, memory_usage
from gallery.validation import not_among_message
from gallery.web.middleware.overload import PROBE_OPT
from gallery.web.routing import QUIET

STARTED_AT = time.monotonic()
PROBE_ROUTE = PUBLIC | UNLIMITED | QUIET | PROBE_OPT


class MemoryView(Struct, frozen=True, rename="camel"):
    """Bytes of this process: resident, mapped private data (the heap), and the resident part of that."""

    __schema_name__ = "Memory"

    rss: int
    heap_total: int
    heap_used: int


class HealthView(Struct, frozen=True):
    """`uptime` in seconds."""

    __schema_name__ = "Health"

    status: str
    timestamp: str
    uptime: float
    memory: MemoryView


class LivenessView(Struct, frozen=True):
    __schema_name__ = "Liveness"

    status: str


class ReadinessView(Struct, frozen=True):
    """`status` is `ok`, `draining` or `unavailable`. `away` has the missing servers, each with the reason, and `states`
    whether each is `away` or has `refused` Gallery.
    """

    __schema_name__ = "Readiness"

    status: str
    away: dict[str, str] | UnsetType = UNSET
    states: dict[str, str] | UnsetType = UNSET


NOT_READY = ResponseSpec(
    ReadinessView, description="This process is stopping, or a server that it needs is away", generate_examples=False
)


@get(
    "/health",
    opt=PROBE_ROUTE,
    operation_id="getHealth",
    summary="Status, uptime and memory of this process",
    tags=["operation"],
)
async def health() -> HealthView:
    return HealthView(
        status="ok",
        timestamp=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        uptime=round(time.monotonic() - STARTED_AT, 3),
        memory=msgspec.convert(memory_usage(), MemoryView),
    )


@get(
    "/livez",
    opt=PROBE_ROUTE,
    operation_id="getLiveness",
    summary="Liveness: 200 while this process answers",
    tags=["operation"],
)
async def livez() -> LivenessView:
    return LivenessView("ok")


@get(
    "/readyz",
    opt=PROBE_ROUTE,
    operation_id="getReadiness",
    responses={503: NOT_READY},
    summary="Readiness: 503 names the server that is unavailable",
    tags=["operation"],
)
async def readyz(
    health: NamedDependency[Health],
    exclude: Annotated[
        list[str] | None, QueryParameter(description="Servers that may be unavailable, e.g. `valkey`")
    ] = None,
) -> Response[ReadinessView]:
    if unknown := set(exclude or []) - set(health.dependencies):
        raise InvalidField("/exclude", not_among_message(min(unknown), health.dependencies))
    if health.draining:
        return _unavailable(ReadinessView("draining"))
    if unavailable := await health.failures(exclude or []):
        reasons = {name: failure.reason for name, failure in unavailable.items()}
        states = {name: failure.state for name, failure in unavailable.items()}
        return _unavailable(ReadinessView("unavailable", reasons, states))
    return Response(ReadinessView("ok"), headers={"Cache-Control": "no-store"})


def _unavailable(status: ReadinessView) -> Response[ReadinessView]:
    return Response(status, status_code=503, headers={"Cache-Control": "no-store", "Retry-After": "2"})
