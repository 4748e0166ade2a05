"""A connection: uvicorn's, with what uvicorn leaves to us.

A connection whose reader has stopped reading has to be cut off, a body that was refused early has to be drained for a
while (a client that is still sending would not see the answer), but not for ever, and a request that arrives drop by
drop must not keep a place for ever either. Nothing that frames a request is without end: the fields of a head and of a
trailer are counted, and so are the bytes between two pieces of a body. Trailer fields are dropped, as RFC 9110, 6.5.1
lets us: nothing of ours reads one, and merged into the head they would pass by what a proxy sets or removes there.
"""

from asyncio import TimerHandle, Transport
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gallery.errors import HeadersTooLarge, MalformedRequest, TooSlow
from gallery.ops.capacity import capacity
from gallery.settings import Serve
from gallery.web.connections import make_room
from gallery.web.problems import problem, status_of

log = structlog.get_logger(__name__)

UNWANTED = 10.0  # seconds for a client to notice that its body is not wanted
LAST_WORDS = 5.0  # seconds for the application to answer 408
MAX_HEADER_BYTES = 64 * 1024
MAX_TRAILER_BYTES = 8 * 1024
FIELD_OVERHEAD = 32  # bytes that a field costs beside its own: https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2

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
        self._max_connections = capacity().connections
        self._timer: TimerHandle | None = None
        self._stage: tuple[str, Any] | None = None
        self._deadline = 0.0
        self._in_headers = False
        self._header_bytes = 0
        self._field_bytes = 0
        self._framing_bytes = 0
        self._too_large = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        make_room(self.connections, self._max_connections)  # type: ignore[arg-type]  # all are of this class
        self._watch(0)

    @property
    def idle(self) -> bool:
        """Whether it waits for another request, after one at least."""
        return self.timeout_keep_alive_task is not None and not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._framing_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_body() and self._framing_bytes > MAX_TRAILER_BYTES:
            self._refuse(HeadersTooLarge())
        else:
            self._watch(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._field_bytes = 0
        self.scope["extensions"] = {"gallery.abort": self.transport.abort}  # type: ignore[dict-item]  # ours

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of a trailer, which is dropped."""
        self._field_bytes += len(name) + len(value) + FIELD_OVERHEAD
        if self._field_bytes > (MAX_HEADER_BYTES if self._in_headers else MAX_TRAILER_BYTES):
            self._too_large = True
            raise HeadersTooLarge  # ends the parser's work, and comes back as `send_400_response`
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()  # raises for a target that is none, which is still to be answered
        self._in_headers = False
        self._header_bytes = 0
        self._field_bytes = 0
        self._framing_bytes = 0
        if self._draining():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        super().on_body(body)

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

    def _in_body(self) -> bool:
        cycle: Any = self.cycle
        return not self._in_headers and cycle is not None and cycle.more_body

    # --- who is too slow ----------------------------------------------------------------------------------------------

    def _watch(self, received: int) -> None:
        """Set the deadline for what is awaited now, of which so many bytes have come."""
        stage, now = self._awaited(), self.loop.time()
        if stage is None:
            self._stage = None
            return
        if self._in_headers:
            self._header_bytes += received
            if self._header_bytes > MAX_HEADER_BYTES:
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

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words, in plain text
        """What the parser does not take. A whole request before it gets its answer all the same, as the last."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.more_body and not cycle.response_started:
            cycle.keep_alive = False
            self._in_headers = False
            self.flow.pause_reading()
            return
        self._refuse(HeadersTooLarge() if self._too_large else MalformedRequest())

    def _refuse(self, error: HeadersTooLarge | MalformedRequest | TooSlow) -> None:
        """End the connection; say why where no other answer is under way, and something has been sent."""
        if self._may_answer():
            status = status_of(error)
            body = problem(status, error.code(), error.sentence(), "")
            self.transport.write(
                b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%b" % (status, HTTPStatus(status).phrase.encode(), len(body), body)
            )
        log.info("connection.refused", error=str(error))
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether the request that is refused is the next to be answered, and has no answer yet."""
        cycle: Any = self.cycle
        if self._in_headers:
            return cycle is None or bool(cycle.response_complete)
        if not self._in_body() or self.pipeline or cycle.response_started:
            return False
        cycle.disconnected = True  # the application is not heard any more
        return True
