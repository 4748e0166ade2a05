"""A worker's HTTP port for probes and Prometheus. Off unless GALLERY_WORKER__METRICS_PORT is set."""

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
    """Binds the port, so that one in use is reported before anything starts; yields a function that serves on it.

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
            "each worker on a machine needs its own."
        ) from None


@asynccontextmanager
async def _no_http(_: Gallery) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _serve_http(gallery: Gallery, sock: socket) -> AsyncIterator[None]:
    from gallery.web.app import make_worker_app  # noqa: PLC0415  only needed with a port
    from gallery.web.server import Server  # noqa: PLC0415

    settings = msgspec.structs.replace(gallery.settings.serve, drain=0)  # no load balancer sends requests to a worker
    server = Server(make_worker_app(gallery), settings, before_stop=lambda: None)
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="worker-http")
    host, port = sock.getsockname()[:2]
    log.info("worker.http_serving", url=f"http://{host}:{port}")
    try:
        yield
    finally:
        server.stop()
        await serving
