"""HTTP as bytes on a socket, for requests that client libraries refuse to send."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import httptools

Headers = Iterable[tuple[bytes, bytes]]


@dataclass
class RawResponse:
    """A response; of an event stream, its head."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    @property
    def is_event_stream(self) -> bool:
        return self.headers.get(b"content-type", b"").startswith(b"text/event-stream")

    # --- the parser's callbacks ---------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.complete = self.is_event_stream

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class RawConnection:
    """A client's connection, opened again when the server has closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def request(self, method: bytes, target: bytes, headers: Headers = (), body: bytes = b"") -> RawResponse:
        """The answer to a request that carries `headers` after a `Host` (unless they have one) and a length."""
        given = list(headers)
        names = {name.lower() for name, _ in given}
        if b"host" not in names:
            given.insert(0, (b"Host", b"127.0.0.1:%d" % (self._port or 80)))
        if body and b"content-length" not in names:
            given.append((b"Content-Length", b"%d" % len(body)))
        head = b"".join(b"%s: %s\r\n" % header for header in given)
        return await self.send(method, b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, target, head, body))

    async def send(self, method: bytes, request: bytes, seconds: float = 20) -> RawResponse:
        """The answer to those bytes; raises `ConnectionError` where the server has closed without one.

        A server may close an idle connection at any time, so only a fresh one counts.
        """
        async with asyncio.timeout(seconds):
            answer = await self._exchange(method, request) if self._streams is not None else RawResponse()
            if not answer.status:
                await self._close()
                answer = await self._exchange(method, request)
        if not answer.status:
            raise ConnectionError(f"closed without an answer: {request[:300]!r}")
        return answer

    async def _exchange(self, method: bytes, request: bytes) -> RawResponse:
        """One without a status if the connection ends first."""
        answer = RawResponse()
        parser = httptools.HttpResponseParser(answer)
        try:
            reader, writer = await self._connect()
            writer.write(request)
            while not answer.complete and (data := await reader.read(65536)):
                parser.feed_data(data)
                answer.status = parser.get_status_code()
                if method == b"HEAD" and data.endswith(b"\r\n\r\n"):
                    break
        except ConnectionError:  # reset during the read: use the bytes received
            pass
        if method == b"HEAD" or answer.is_event_stream or not answer.complete or not parser.should_keep_alive():
            await self._close()
        return answer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            await self._close()
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    async def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
