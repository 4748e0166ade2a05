"""Runs the ASGI application in our own event loop (uvicorn): a stop goes in our order, drain, streams, requests.

Uvicorn leaves some things to us: a connection whose reader has stopped reading has to be cut off, a body that was
refused early has to be drained for a while (a client that is still sending would not see the answer), but not for ever,
and who sends a request drop by drop must not keep a place for ever either.
"""

import asyncio
import contextlib
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import structlog
import uvicorn
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gallery.errors import HeadersTooLarge, TooSlow
from gallery.settings import FINISH, Serve
from gallery.web.problems import problem, status_of

log = structlog.get_logger(__name__)

UNWANTED = 10.0  # seconds for a client to notice that its body is not wanted
LAST_WORDS = 5.0  # seconds for the application to answer 408
MOST_HEADER_BYTES = 64 * 1024

HEADERS, BODY = "headers", "body"


class Protocol(HttpToolsProtocol):
    """A connection. What it waits for has a deadline; when that has passed, the client has been too slow.

    Headers have a fixed time. A body has to bring the minimum rate: each byte puts its deadline off by what it may
    take, but never farther than the grace from now, so that no quick beginning pays for a long pause.
    """

    def __init__(self, settings: Serve, draining: Callable[[], bool], **given: Any) -> None:
        super().__init__(**given)
        self._settings = settings
        self._draining = draining
        self._timer: TimerHandle | None = None
        self._stage: tuple[str, Any] | None = None
        self._deadline = 0.0
        self._in_headers = False
        self._header_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._watch(0)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.transport.is_closing():
            self._watch(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self.scope["extensions"] = {"gallery.abort": self.transport.abort}  # type: ignore[dict-item]  # ours

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        super().on_headers_complete()
        if self._draining():
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            self.loop.call_later(UNWANTED, self._give_up, self.cycle)

    def _give_up(self, cycle: Any) -> None:
        if self.cycle is cycle and cycle.more_body:
            self.transport.abort()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.cycle.more_body = False  # also of a body that nobody has read

    # --- who is too slow ----------------------------------------------------------------------------------------------

    def _watch(self, received: int) -> None:
        """Set the deadline for what is awaited now, of which so many bytes have come."""
        stage, now = self._awaited(), self.loop.time()
        if stage is None:
            self._stage = None
            return
        if self._in_headers:
            self._header_bytes += received
            if self._header_bytes > MOST_HEADER_BYTES:
                self._refuse(HeadersTooLarge())
                return
        if stage != self._stage:
            self._deadline = now + (self._settings.header_timeout if stage[0] == HEADERS else self._settings.body_grace)
        elif stage[0] == BODY:
            longer = self._deadline + received / self._settings.min_body_rate
            self._deadline = min(longer, now + self._settings.body_grace)
        self._stage = stage
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()

    def _awaited(self) -> tuple[str, Any] | None:
        """What the client has still to send, and for which request; `None` when it is our turn, or nobody's."""
        cycle: Any = self.cycle  # there is none before the first request
        if self._in_headers or cycle is None:
            return HEADERS, cycle
        if cycle.more_body:  # an answered one is drained
            return (BODY, cycle) if self._settings.min_body_rate and not cycle.response_complete else None
        idle = self.timeout_keep_alive_task is not None
        return (HEADERS, cycle) if cycle.response_complete and not idle else None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """The deadline that was set has come; it may have been put off since, or have become another's."""
        self._timer = None
        stage = self._awaited()
        if self.transport.is_closing() or stage is None or stage != self._stage:
            return
        if self.flow.read_paused:  # it is us who let the client wait
            self._deadline = self.loop.time() + self._settings.body_grace
        if self._deadline > self.loop.time():
            self._arm()
        elif stage[0] == HEADERS:
            self._refuse(TooSlow())
        else:
            self._hurry()

    def _hurry(self) -> None:
        """Let the application know, so that it can tidy up and answer; end the connection with or without it."""
        log.info("request.too_slow", path=self.scope["path"])
        self.cycle.keep_alive = False
        self.cycle.scope["extensions"]["gallery.too_slow"] = {}
        self.cycle.message_event.set()
        self.loop.call_later(LAST_WORDS, self.transport.abort)

    def _refuse(self, error: HeadersTooLarge | TooSlow) -> None:
        """Before there is a request to answer; who has sent nothing is told nothing."""
        cycle: Any = self.cycle
        if self._in_headers and (cycle is None or cycle.response_complete):
            status = status_of(error)
            body = problem(status, error.code(), error.sentence(), "")
            self.transport.write(
                b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%b" % (status, PHRASES[type(error)], len(body), body)
            )
        self.transport.close()


PHRASES = {HeadersTooLarge: b"Request Header Fields Too Large", TooSlow: b"Request Timeout"}


def in_time(app: ASGIApp) -> ASGIApp:
    """The application, which raises `TooSlow` when it goes on to read a body that arrives too slowly."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_in_time() -> Any:  # a message, with a name that Litestar does not export
            message = await receive()
            if scope["type"] == ScopeType.HTTP and "gallery.too_slow" in (scope["extensions"] or {}):
                raise TooSlow
            return message

        await app(scope, receive_in_time, send)

    return serve


class Server(uvicorn.Server):
    """Stopped by `stop`, never by a signal of its own.

    `before_drain` tells who asks that we are leaving; `before_stop` ends what would hold a graceful stop up.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Serve,
        before_stop: Callable[[], None],
        before_drain: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(_config(in_time(app), settings, lambda: self._draining))
        self._drain = settings.drain
        self._draining = False
        self._before_drain = before_drain
        self._before_stop = before_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Drain: serve on for a while, so that nobody is sent to us any more. Asked again, or without a drain: end."""
        if self._draining or not self._drain:
            self._end()
            return
        self._draining = True
        self._before_drain()
        log.info("api.draining", seconds=self._drain)
        asyncio.get_running_loop().call_later(self._drain, self._end)

    def _end(self) -> None:
        """Answer what has been asked, then end."""
        self._before_stop()
        self.should_exit = True


def _config(app: ASGIApp, settings: Serve, draining: Callable[[], bool]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(Protocol, settings, draining),  # type: ignore[arg-type]  # called, and nothing else
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn believes whoever asks from this machine; we believe whom we are told to
        timeout_keep_alive=65,  # longer than a load balancer's
        timeout_graceful_shutdown=FINISH,
        backlog=1024,
    )
