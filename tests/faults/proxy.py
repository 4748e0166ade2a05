"""A TCP proxy before a server, which can refuse, stall, delay or cut off connections."""

import asyncio
import random
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

CHUNK_BYTES = 64 * 1024
SLOW_DOWN_RESPONSE = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 62\r\nConnection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>Wait.</Message></Error>\r\n"
)


class Proxy:
    """Forwards everything until an attribute is set, which also affects open connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)
        self._url = url
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.refusing = False  # new connections are reset at once
        self.refused_count = 0  # the number of them
        self.stalling = False  # no bytes are forwarded, and connections stay open
        self.throttled_share = 0.0  # of the connections, which get S3's answer 503 Slow Down
        self.delay_seconds = 0.0  # before each block
        self.cut_after_bytes: int | None = None  # per direction of a connection

    @property
    def url(self) -> str:
        """The server's URL with the proxy's port."""
        assert self._server
        port = self._server.sockets[0].getsockname()[1]
        return self._url.replace(f"{self._target[0]}:{self._target[1]}", f"127.0.0.1:{port}", 1)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        self.reset_connections()
        async with asyncio.timeout(10):
            while self._open:
                await asyncio.sleep(0.01)

    def reset_connections(self) -> None:
        """Reset every open connection."""
        for writer in list(self._open):
            writer.transport.abort()

    def restore(self) -> None:
        self.refusing = self.stalling = False
        self.delay_seconds, self.throttled_share, self.cut_after_bytes = 0.0, 0.0, None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            if self.refusing:
                self.refused_count += 1
                return
            if random.random() < self.throttled_share:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(SLOW_DOWN_RESPONSE)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                return
            back, upstream = await asyncio.open_connection(*self._target)
            self._open.add(upstream)
            pumps = [
                asyncio.ensure_future(self._pump(reader, upstream)),
                asyncio.ensure_future(self._pump(back, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, EOFError):
            pass  # the server is unavailable: the client's connection is reset
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()
                    self._open.discard(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                while self.stalling:
                    await asyncio.sleep(0.05)
                await asyncio.sleep(self.delay_seconds)
                passed += len(data)
                if self.cut_after_bytes is not None and passed > self.cut_after_bytes:
                    return
                writer.write(data)
                await writer.drain()
