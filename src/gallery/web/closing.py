"""uvicorn's HTTP protocol with an end of the connection that lets the client read the last response (RFC 9112, 9.6).

Bytes that reach a closed socket make the kernel reset the connection, and a client that writes into a reset connection
may lose what it has not read. So the end of a connection whose client may still be sending has two steps: nothing is
sent after the response, and what arrives is dropped; the socket is closed when the client has closed it, or after a
time, which nginx calls lingering. A client that reads nothing of its response in that time is disconnected.
"""

import math
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LINGER_SECONDS = 10.0  # for a client to stop sending what is dropped
WRITE_TIMEOUT_SECONDS = 30.0  # in which a client has to read some of a last response
MAX_DROPPED_BYTES = 1_000_000  # after a malformed request; a body that was refused has no such limit


@dataclass(slots=True)
class ResponseTransport:
    """The part of a transport that responses use, and that is closing from the first step on."""

    write: Callable[[bytes], None]
    get_write_buffer_size: Callable[[], int]
    is_closing: Callable[[], bool]
    close: Callable[[], None]


class ClosingProtocol(HttpToolsProtocol):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._active_cycle: Any = None  # the cycle whose response is the next, or being sent
        self._refused = False  # no further request is read
        self._responses_ended = False  # the first step is done
        self._droppable_bytes = math.inf
        self._linger_timer: TimerHandle | None = None
        self._shutting_down = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._response_transport = ResponseTransport(
            transport.write, transport.get_write_buffer_size, self._is_closing, self._close
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._disconnect(self._active_cycle)  # uvicorn does the newest
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._response_transport.is_closing = self.transport.is_closing  # no reference to this protocol: it is freed
        self._response_transport.close = self.transport.close
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called when the server stops, and to make room for other connections."""
        self._shutting_down = True
        if self._responses_ended:
            self._close_at_once()
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = self._response_transport  # type: ignore[assignment]  # all of it that a cycle uses

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        if self._responses_ended:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_unless_read(math.inf)
        elif self._refused:
            self.flow.pause_reading()  # which uvicorn has resumed
        elif self.cycle.response_complete and self.cycle.more_body:
            self.loop.call_later(LINGER_SECONDS, self._abort_drain, self.cycle)

    def _abort_drain(self, cycle: Any) -> None:
        if self.cycle is cycle and cycle.more_body:
            self.transport.abort()

    def _is_closing(self) -> bool:
        return self._responses_ended or self.transport.is_closing()

    def _close(self) -> None:
        """Close the connection after a response, in two steps if its client may still be sending."""
        if self._is_receiving():
            self._end_responses()
        else:
            self.transport.close()

    def _is_receiving(self) -> bool:
        return self.cycle.more_body or self._refused or self.flow.read_paused or bool(self.pipeline)

    def _end_responses(self) -> None:
        """The first step: send nothing after what was written, and end the requests that have no response."""
        if self._is_closing():
            return
        self._refused = self._responses_ended = True
        for cycle in (self.cycle, self._active_cycle):
            self._disconnect(cycle)
        self.transport.write_eof()
        self.flow.resume_reading()
        if self._shutting_down:
            self._close_at_once()
        else:
            self._linger(math.inf)

    def _disconnect(self, cycle: Any) -> None:
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _linger(self, previous_size: float) -> None:
        """Wait for the client, and longer while it reads its response."""
        size = self.transport.get_write_buffer_size()
        if size < previous_size:
            self._linger_timer = self.loop.call_later(LINGER_SECONDS, self._linger, size)
        else:
            self._close_at_once()

    def _drop(self, count: int) -> None:
        self._droppable_bytes -= count
        if self._responses_ended and self._droppable_bytes < 0:
            self._close_at_once()

    def _close_at_once(self) -> None:
        self.transport.close()
        self._abort_unless_read(math.inf)

    def _abort_unless_read(self, previous_size: float) -> None:
        """A closed transport still sends its buffer: abort it when the client has read none of it for a while."""
        size = self.transport.get_write_buffer_size()
        if size >= previous_size:
            self.transport.abort()
        elif size:
            self.loop.call_later(WRITE_TIMEOUT_SECONDS, self._abort_unless_read, size)
