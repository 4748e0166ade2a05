"""A connection: uvicorn's, with what uvicorn leaves to us.

A connection whose reader has stopped reading has to be cut off, a body that was refused early has to be drained for a
while (a client that is still sending would not see the answer), but not for ever, and a request that arrives drop by
drop must not keep a place for ever either. Nothing that frames a request is without end: the fields of a head and of a
trailer are counted, and so are the bytes between two pieces of a body. Trailer fields are dropped, as RFC 9110, 6.5.1
lets us: nothing of ours reads one, and merged into the head they would pass by what a proxy sets or removes there.
"""

import math
import sys
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any

import structlog
from httptools import HttpParserError, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gallery.errors import HeadersTooLarge, MalformedRequest, TooSlow
from gallery.ops.capacity import capacity
from gallery.settings import Serve
from gallery.web.connections import make_room
from gallery.web.refusal import broken_rule, refusal
from gallery.web.unchunked import send_unchunked

log = structlog.get_logger(__name__)

UNWANTED = 10.0  # seconds for a client to notice that its body is not wanted
LAST_WORDS = 5.0  # seconds for the application to answer 408
UNREAD = 30.0  # seconds in which a client has to read some of a last answer
MAX_HEADER_BYTES = 64 * 1024
MAX_TRAILER_BYTES = 8 * 1024
FIELD_OVERHEAD = 32  # bytes that a field costs beside its own: https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2
HEAD_LIMIT = f"The limit is {MAX_HEADER_BYTES:,} bytes, of which each header takes {FIELD_OVERHEAD} beside its own."
TRAILER_LIMIT = f"Trailer fields and chunk extensions have {MAX_TRAILER_BYTES:,} bytes; leave them out."

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
        self._too_large: HeadersTooLarge | None = None
        self._block = b""
        self._is_left = False  # whether the parser has still to read the block
        self._message_ended = False
        self._is_repeated = False
        self._refused = False
        self._answering: Any = None  # the cycle whose answer is the next, or under way

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
        if self._answering is not None and not self._answering.response_complete:  # uvicorn tells only the newest
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._framing_bytes += len(data)
        self._message_ended = False
        self._block, self._is_left = data, True
        while self._is_left:
            self._is_left = False
            super().data_received(self._block)
        if self.transport.is_closing():
            return
        if self._in_body() and self._framing_bytes > MAX_TRAILER_BYTES:
            self._refuse(HeadersTooLarge(TRAILER_LIMIT))
        else:
            self._watch(len(data))

    def on_message_begin(self) -> None:
        if self._is_repeated:
            return
        super().on_message_begin()
        self._in_headers = True
        self._field_bytes = 0
        self.scope["extensions"] = {"gallery.abort": self.transport.abort}  # type: ignore[dict-item]  # ours

    def on_url(self, url: bytes) -> None:
        if not self._is_repeated:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of a trailer, which is dropped."""
        if self._is_repeated:
            return
        self._field_bytes += len(name) + len(value) + FIELD_OVERHEAD
        if self._field_bytes > (MAX_HEADER_BYTES if self._in_headers else MAX_TRAILER_BYTES):
            self._too_large = HeadersTooLarge(HEAD_LIMIT if self._in_headers else TRAILER_LIMIT)
            raise self._too_large  # ends the parser's work, and comes back as `send_400_response`
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_repeated:
            self._is_repeated = False
            return
        super().on_headers_complete()  # raises for a target that is none, which is still to be answered
        if self.scope["http_version"] < "1.1":
            send_unchunked(self.cycle)
        self._in_headers = False
        self._header_bytes = 0
        self._field_bytes = 0
        self._framing_bytes = 0
        if self._draining():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        super().on_body(body)

    def _unsupported_upgrade_warning(self) -> None:
        """Go on with our protocol (RFC 9110, 7.8), by a parser that has not seen the wish for another one."""
        self._block = self._block[sys.exception().args[0] :]  # type: ignore[union-attr]  # called for one
        framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self._is_repeated = True
        lines = [b"POST / HTTP/1.1", *(b"%b: %b" % header for header in framing), b"", b""]
        try:
            self.parser.feed_data(b"\r\n".join(lines))
        except HttpParserError:
            self.send_400_response("")
        else:
            self._is_left = True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._cut_off_unless_read(math.inf)
        elif self.cycle.response_complete and self.cycle.more_body:
            self.loop.call_later(UNWANTED, self._give_up, self.cycle)

    def _give_up(self, cycle: Any) -> None:
        if self.cycle is cycle and cycle.more_body:
            self.transport.abort()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # so the parser thinks, which takes the body for another protocol
        super().on_message_complete()
        self._message_ended = True
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
        if self._in_headers and not self._message_ended:  # else most of those bytes may be another request's
            self._header_bytes += received
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(HeadersTooLarge(HEAD_LIMIT))
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
        if self._refused:
            return None
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

    # --- what is refused ----------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words, in plain text
        """What the parser does not take."""
        self._refuse(self._too_large or MalformedRequest(broken_rule(first=self.cycle is None)))

    def _refuse(self, error: HeadersTooLarge | MalformedRequest | TooSlow) -> None:
        """End the connection, behind the answers to the whole requests before; where there is none, say why."""
        if self._refused:
            return
        log.info("connection.refused", error=str(error))
        self._refused = True
        last = self._last_whole()
        if last is not None and not self._endless():
            last.keep_alive = False
            self.flow.pause_reading()
            return
        if self._may_answer():
            self.transport.write(refusal(error))
        self.transport.close()
        self._cut_off_unless_read(math.inf)

    def _last_whole(self) -> Any:
        """The last request that has come whole and is still to be answered; none behind it is answered any more."""
        last: Any = self.cycle
        if self._in_body():
            if not self.pipeline:
                return None
            self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else self._answering
        return last if last is not None and not last.response_complete else None

    def _endless(self) -> bool:
        """Whether an answer is under way that does not say where it ends, as a stream's."""
        return bool(self._answering.response_started and not self._answering.expected_content_length)

    def _may_answer(self) -> bool:
        """Whether the request that is refused is the next to be answered, and has no answer yet."""
        cycle: Any = self.cycle
        if self._in_headers:
            return cycle is None or bool(cycle.response_complete)
        if not self._in_body() or self.pipeline or cycle.response_started:
            return False
        cycle.disconnected = True  # the application is not heard any more
        return True

    def _cut_off_unless_read(self, left: float) -> None:
        """A closed transport waits for the client to read what was written: as long as it goes on to read."""
        size = self.transport.get_write_buffer_size()
        if size >= left:
            self.transport.abort()
        elif size:
            self.loop.call_later(UNREAD, self._cut_off_unless_read, size)
