"""The server's protocol with a short way for kept responses, without a cycle, a task and ASGI: decision 0120.

A request that has the same bytes as an earlier one is not parsed again.
"""

import asyncio
from typing import Any

from gallery.web.middleware.repeat import ParsedRequest, Repeater
from gallery.web.protocol import HttpProtocol


class CompletedCycle:
    """What uvicorn's protocol has to know about a request that was answered at once."""

    response_complete = True
    more_body = False
    message_event = asyncio.Event()  # set by uvicorn when the connection ends; nothing waits for it


class RepeatingProtocol(HttpProtocol):
    def __init__(self, repeater: Repeater | None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._repeater = repeater
        self._peer = ""
        self._requests = 0  # that have begun in the bytes that were received last
        self._repeated: ParsedRequest | None = None  # the one of them that was answered at once
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        if self._repeater is not None and self.client is not None:
            self._peer = self._repeater.peer_key(self.client[0])

    def data_received(self, data: bytes) -> None:
        if self._repeater is None or self._refused:
            super().data_received(data)
            return
        begins = not self._in_headers and self._has_answered_all()
        request = self._repeater.known_requests.find(self._peer, data) if begins else None
        if request is not None and self._repeat(self._repeater, request):
            return
        self._requests = 0
        repeated = self._parse(data)
        if begins and self._requests == 1 and repeated is not None:
            self._repeater.known_requests.add(self._peer, data, repeated)

    def _parse(self, data: bytes) -> ParsedRequest | None:
        """Returns the request in `data` that was answered at once, if there was one."""
        self._repeated = None
        super().data_received(data)
        return self._repeated

    def on_message_begin(self) -> None:
        self._requests += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._is_replaying or self._repeater is None or not self._repeat_parsed(self._repeater):
            self._unset_keepalive_if_required()  # set for a request before it in the same bytes
            super().on_headers_complete()

    def _repeat_parsed(self, repeater: Repeater) -> bool:
        """Answer the request whose head was parsed just now. Of several that came together, only the first: so other
        connections have their turn between them.
        """
        if (
            self._repeated is not None
            or not self._has_answered_all()
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
        ):
            return False
        self.scope["method"] = self.parser.get_method().decode("ascii")
        request = repeater.parse(self.scope, self.url)
        if request is None or not self._repeat(repeater, request):
            return False
        self._repeated = request
        return True

    def _repeat(self, repeater: Repeater, request: ParsedRequest) -> bool:
        """Send the kept response to a request whose turn it is; false if the application has to answer."""
        if self._draining() or self.flow.write_paused:
            return False
        response = repeater.respond(request, self.server_state.default_headers)
        if response is None:
            return False
        self._end_head()
        self.cycle = self._active_cycle = CompletedCycle()  # type: ignore[assignment]
        self.transport.writelines(response)  # head and body by one system call, and one packet for the client
        if self.timeout_keep_alive_task is None:
            self.on_response_complete()
        else:
            self._idle_since = self.loop.time()
        return True

    def _has_answered_all(self) -> bool:
        """Whether each request has its response, and its whole body was received."""
        cycle: Any = self.cycle  # `None` before the first request
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def timeout_keep_alive_handler(self) -> None:
        """Requests whose bytes are known leave the timer as it is: a new one for each is a tenth of an answer."""
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()
