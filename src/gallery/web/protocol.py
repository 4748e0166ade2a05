"""uvicorn's HTTP protocol, with limits of time and size that uvicorn lacks.

A request that arrives too slowly is refused. The fields of a head and of a trailer are counted, and so are the bytes
between two pieces of a body. Trailer fields are dropped, as RFC 9110, 6.5.1 allows: nothing reads them, and merged into
the head they would bypass the headers that a proxy sets or removes. `closing` says how a connection ends.
"""

import sys
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any

import structlog
from httptools import HttpParserError, HttpRequestParser

from gallery.errors import HeadersTooLarge, MalformedRequest, TooSlow
from gallery.ops.capacity import capacity
from gallery.responses import INTERIM_KEY
from gallery.settings import ServeSettings
from gallery.web.closing import MAX_DROPPED_BYTES, ClosingProtocol
from gallery.web.connection_errors import encode_response, parser_error_message
from gallery.web.connections import close_idle_connections
from gallery.web.http10 import disable_chunking
from gallery.web.interim import interim_sender

log = structlog.get_logger(__name__)

RESPONSE_TIMEOUT_SECONDS = 5.0  # for the application to answer 408
MAX_HEADER_BYTES = 64 * 1024
MAX_TRAILER_BYTES = 8 * 1024
FIELD_OVERHEAD_BYTES = 32  # added to each field's size: https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2
HEADERS_TOO_LARGE = (
    f"The limit is {MAX_HEADER_BYTES:,} bytes; each header counts {FIELD_OVERHEAD_BYTES} more than its size."
)
TRAILERS_TOO_LARGE = (
    f"The limit for trailer fields and chunk extensions is {MAX_TRAILER_BYTES:,} bytes; leave them out."
)

AWAITING_HEADERS, AWAITING_BODY = "headers", "body"


class HttpProtocol(ClosingProtocol):
    """A connection with a deadline for the part of a request that it waits for.

    Headers have a fixed time. A body has a minimum rate: each byte moves the deadline on by the time that it may take,
    but never past the grace from now, so that a fast start does not allow a long pause.
    """

    def __init__(self, settings: ServeSettings, draining: Callable[[], bool], **kwargs: Any) -> None:
        super().__init__(**kwargs)
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
        self._too_large: HeadersTooLarge | None = None
        self._buffer = b""
        self._has_unparsed = False  # whether the parser has to read the buffer
        self._message_ended = False
        self._is_replaying = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        close_idle_connections(self.connections, self._max_connections)  # type: ignore[arg-type]  # all are of this class
        self._update_deadline(0)

    @property
    def idle(self) -> bool:
        """Whether the connection has had a request and waits for the next one, or for the client to close it."""
        waits = self.timeout_keep_alive_task is not None or self._responses_ended
        return waits and not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._drop(len(data))
            return
        self._framing_bytes += len(data)
        self._message_ended = False
        self._buffer, self._has_unparsed = data, True
        while self._has_unparsed:
            self._has_unparsed = False
            super().data_received(self._buffer)
        if self.transport.is_closing():
            return
        if self._in_body() and self._framing_bytes > MAX_TRAILER_BYTES:
            self._refuse(HeadersTooLarge(TRAILERS_TOO_LARGE))
        else:
            self._update_deadline(len(data))

    def on_message_begin(self) -> None:
        if self._is_replaying:
            return
        super().on_message_begin()
        self._in_headers = True
        self._field_bytes = 0
        self.scope["extensions"] = {"gallery.abort": self.transport.abort}  # type: ignore[dict-item]  # of Gallery's own

    def on_url(self, url: bytes) -> None:
        if not self._is_replaying:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts a field of the head or of a trailer; a trailer's field is dropped."""
        if self._is_replaying:
            return
        self._field_bytes += len(name) + len(value) + FIELD_OVERHEAD_BYTES
        if self._field_bytes > (MAX_HEADER_BYTES if self._in_headers else MAX_TRAILER_BYTES):
            self._too_large = HeadersTooLarge(HEADERS_TOO_LARGE if self._in_headers else TRAILERS_TOO_LARGE)
            raise self._too_large  # stops the parser; uvicorn then calls `send_400_response`
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_replaying:
            self._is_replaying = False
            return
        super().on_headers_complete()  # raises for an invalid target, before the state of the head is reset
        if self.scope["http_version"] < "1.1":
            disable_chunking(self.cycle)
        elif self.scope["method"] != "HEAD":  # the transport of a response with chunks
            self.scope["extensions"]["gallery.transport"] = self._response_transport  # type: ignore[assignment]
            self.scope["extensions"][INTERIM_KEY] = interim_sender(self.cycle)  # type: ignore[assignment]
        self._end_head()
        if self._draining():
            self.cycle.keep_alive = False

    def _end_head(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        self._field_bytes = 0
        self._framing_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        super().on_body(body)

    def _unsupported_upgrade_warning(self) -> None:
        """Go on with HTTP/1.1 (RFC 9110, 7.8), with a new parser that has not seen the header `Upgrade`."""
        self._buffer = self._buffer[sys.exception().args[0] :]  # type: ignore[union-attr]  # called in `except`
        framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._is_replaying = True
        lines = [b"POST / HTTP/1.1", *(b"%b: %b" % header for header in framing), b"", b""]
        try:
            self.parser.feed_data(b"\r\n".join(lines))
        except HttpParserError:
            self.send_400_response("")
        else:
            self._has_unparsed = True

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # the parser takes the body for data of another protocol
        super().on_message_complete()
        self._message_ended = True
        self.cycle.more_body = False  # also when the application has not read the body

    def _is_receiving(self) -> bool:
        return self._in_headers or super()._is_receiving()

    def _in_body(self) -> bool:
        cycle: Any = self.cycle
        return not self._in_headers and cycle is not None and cycle.more_body

    # --- slow clients -------------------------------------------------------------------------------------------------

    def _update_deadline(self, received: int) -> None:
        """Set the deadline for the part that is awaited now, after `received` more bytes."""
        stage, now = self._find_stage(), self.loop.time()
        if stage is None:
            self._stage = None
            return
        if self._in_headers and not self._message_ended:  # else most of these bytes may belong to another request
            self._header_bytes += received
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(HeadersTooLarge(HEADERS_TOO_LARGE))
                return
        if stage != self._stage:
            self._deadline = now + (
                self._settings.header_timeout if stage[0] == AWAITING_HEADERS else self._settings.body_grace
            )
        elif stage[0] == AWAITING_BODY:
            longer = self._deadline + received / self._settings.min_body_rate
            self._deadline = min(longer, now + self._settings.body_grace)
        self._stage = stage
        if self._timer is None or self._timer.when() > self._deadline:
            self._start_timer()

    def _find_stage(self) -> tuple[str, Any] | None:
        """The part that the client has to send next, and its request; `None` when the connection is idle or the
        application has to answer.
        """
        cycle: Any = self.cycle  # `None` before the first request
        if self._refused:
            return None
        if self._in_headers or cycle is None:
            return AWAITING_HEADERS, cycle
        if cycle.more_body:  # the body of an answered request is drained, with a deadline of its own
            return (AWAITING_BODY, cycle) if self._settings.min_body_rate and not cycle.response_complete else None
        idle = self.timeout_keep_alive_task is not None
        return (AWAITING_HEADERS, cycle) if cycle.response_complete and not idle else None

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        """The timer has run out; the deadline may have moved since, or belong to another part."""
        self._timer = None
        stage = self._find_stage()
        if self.transport.is_closing() or stage is None or stage != self._stage:
            return
        if self.flow.read_paused:  # the server lets the client wait
            self._deadline = self.loop.time() + self._settings.body_grace
        if self._deadline > self.loop.time():
            self._start_timer()
        elif stage[0] == AWAITING_HEADERS:
            self._refuse(TooSlow())
        else:
            self._time_out_body()

    def _time_out_body(self) -> None:
        """Notify the application, so that it cleans up and answers; close the connection even if it does not."""
        log.info("request.too_slow", path=self.scope["path"])
        self.cycle.keep_alive = False
        self.cycle.scope["extensions"]["gallery.too_slow"] = {}
        self.cycle.message_event.set()
        self.loop.call_later(RESPONSE_TIMEOUT_SECONDS, self._abort_unanswered, self.cycle)

    def _abort_unanswered(self, cycle: Any) -> None:
        if not cycle.response_complete:
            self.transport.abort()

    # --- refused requests ---------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's plain text
        """Refuse a request that the parser does not accept."""
        self._refuse(self._too_large or MalformedRequest(parser_error_message(first=self.cycle is None)))

    def _refuse(self, error: HeadersTooLarge | MalformedRequest | TooSlow) -> None:
        """Close the connection after the responses to earlier complete requests; without one, send the error first."""
        if self._refused:
            return
        log.info("connection.refused", error=str(error))
        self._refused = True
        self._droppable_bytes = MAX_DROPPED_BYTES
        last = self._find_last_complete()
        if last is not None and not self._is_unbounded():
            last.keep_alive = False
            self.flow.pause_reading()
            return
        if self._may_respond():
            self.transport.write(encode_response(error))
            self._end_responses()
        else:
            self._close_at_once()

    def _find_last_complete(self) -> Any:
        """The last complete request that has no whole response yet; later ones get none any more."""
        last: Any = self.cycle
        if self._in_body():
            if not self.pipeline:
                return None
            self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else self._active_cycle
        return last if last is not None and not last.response_complete else None

    def _is_unbounded(self) -> bool:
        """Whether a response without a length, such as a stream, is being sent."""
        return bool(self._active_cycle.response_started and not self._active_cycle.expected_content_length)

    def _may_respond(self) -> bool:
        """Whether the refused request is the next one to be answered, and its response has not begun."""
        cycle: Any = self.cycle
        if self._in_headers:
            return cycle is None or bool(cycle.response_complete)
        if not self._in_body() or self.pipeline or cycle.response_started:
            return False
        cycle.disconnected = True  # uvicorn drops messages of the application from now on
        return True
