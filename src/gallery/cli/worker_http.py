"""A worker's door: the port on which it says how it is, for probes and for Prometheus. Closed unless somebody asks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from socket import socket
from typing import TypeAlias

import msgspec
import structlog

from gallery.access.open_mode import check_open_mode
from gallery.cli.sockets import listen
from gallery.errors import CannotStart
from gallery.settings import Settings
from gallery.wiring import Gallery

log = structlog.get_logger(__name__)

StartHttp: TypeAlias = Callable[[Gallery], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def worker_http(settings: Settings) -> AsyncIterator[StartHttp]:
    """Takes the port, so that one in use is told before anything starts; yields what answers on it.

    Raises `CannotStart`.
    """
    if not settings.worker.metrics_port:
        yield _no_http
        return
    check_open_mode(settings)
    with _bind(settings) as sock:
        yield lambda gallery: _serve_http(gallery, sock)


def _bind(settings: Settings) -> socket:
    host, port = settings.host, settings.worker.metrics_port
    try:
        return listen(host, port)
    except OSError as error:
        raise CannotStart(
            f"Cannot listen on {host}:{port}: {error.strerror}. Set GALLERY_WORKER__METRICS_PORT to a free port; "
            "workers on one machine need one each."
        ) from None


@asynccontextmanager
async def _no_http(_: Gallery) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _serve_http(gallery: Gallery, sock: socket) -> AsyncIterator[None]:
    from gallery.web.app import make_worker_app  # noqa: PLC0415  a worker without a door does without a framework
    from gallery.web.server import Server  # noqa: PLC0415

    at_once = msgspec.structs.replace(gallery.settings.serve, drain=0)  # no balancer sends anybody to a worker
    server = Server(make_worker_app(gallery), at_once, before_stop=lambda: None)
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="door")
    host, port = sock.getsockname()[:2]
    log.info("worker.door", url=f"http://{host}:{port}")
    try:
        yield
    finally:
        server.stop()
        await serving
