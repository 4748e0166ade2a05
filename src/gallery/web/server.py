"""Runs the ASGI application with uvicorn in this process's event loop. It stops in order: drain, streams, requests."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import structlog
import uvicorn
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gallery.errors import TooSlow
from gallery.settings import STOP_TIMEOUT_SECONDS, ServeSettings
from gallery.web.long_responses import run_rest
from gallery.web.middleware.repeat import Repeater
from gallery.web.repeating_protocol import RepeatingProtocol

log = structlog.get_logger(__name__)


def with_slow_body_check(app: ASGIApp) -> ASGIApp:
    """The application with a `receive` that raises `TooSlow` when a body arrives too slowly, and then its rest."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_in_time() -> Any:  # a message, whose type Litestar does not export
            message = await receive()
            if scope["type"] == ScopeType.HTTP and "gallery.too_slow" in (scope["extensions"] or {}):
                raise TooSlow
            return message

        try:
            await app(scope, receive_in_time, send)
        finally:
            await run_rest(scope, receive, send)

    return serve


class Server(uvicorn.Server):
    """A server that `stop` ends; it handles no signals itself.

    `before_drain` makes the readiness probe fail; `before_stop` ends the streams, which would delay a graceful stop.
    `repeater` answers what it can before the application is asked.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        before_stop: Callable[[], None],
        before_drain: Callable[[], None] = lambda: None,
        repeater: Repeater | None = None,
    ) -> None:
        self._drain = settings.drain
        self._draining = False
        protocol = partial(RepeatingProtocol, repeater, settings, lambda: self._draining)
        super().__init__(_uvicorn_config(with_slow_body_check(app), protocol))
        self._before_drain = before_drain
        self._before_stop = before_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Drain: serve for a while, until load balancers send no more requests. A second call, or no drain: end."""
        if self._draining or not self._drain:
            self._end()
            return
        self._draining = True
        self._before_drain()
        log.info("api.draining", seconds=self._drain)
        asyncio.get_running_loop().call_later(self._drain, self._end)

    def _end(self) -> None:
        """Answer the requests under way, then end."""
        self._before_stop()
        self.should_exit = True


def _uvicorn_config(app: ASGIApp, protocol: Callable[..., RepeatingProtocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # uvicorn only calls it
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn trusts every client on this machine; `ProxyHeaders` trusts GALLERY_PROXIES
        timeout_keep_alive=65,  # seconds: longer than a load balancer's
        timeout_graceful_shutdown=STOP_TIMEOUT_SECONDS,
        backlog=1024,
    )
