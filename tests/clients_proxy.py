"""A proxy before Gallery that breaks connections and answers in Gallery's place, as networks do."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

REQUEST = re.compile(rb"(?:GET|POST|PATCH|DELETE) \S+")
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def canned(status: int, body: str = "", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class Proxy:
    """What goes through is changed: `answers` are given to the next requests instead of Gallery's. Of the next
    connections, each is broken after so many bytes of `cuts`. `lost` answers are lost with their connections. `damage`
    replaces bytes. After `stall_after` bytes in all, nothing more goes through. `requests` are those that came by.
    """

    def __init__(self, server: str) -> None:
        self._server = urlsplit(server)
        self.url = ""
        self.answers: list[bytes] = []
        self.cuts: list[int] = []
        self.lost = 0
        self.stall_after: int | None = None
        self.damage = (b"", b"")
        self.requests: list[str] = []
        self.sent = 0
        self._open: set[asyncio.StreamWriter] = set()

    def break_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, upstream = await asyncio.open_connection(self._server.hostname, self._server.port)
        self._open |= {writer, upstream}
        pumps = [asyncio.create_task(self._send(reader, writer, upstream))]
        pumps += [asyncio.create_task(self._receive(back, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, upstream):
            end.transport.abort()
        self._open -= {writer, upstream}
        await asyncio.wait(pumps)
        for pump in pumps:
            pump.exception()

    async def _send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> None:
        sent = 0
        while block := await reader.read(65536):
            if found := REQUEST.match(block):
                self.requests.append(found[0].decode())
                if self.answers:
                    await self._answer(block, reader, writer)
                    return
            if self.damage[0]:
                block = block.replace(*self.damage)
            sent += len(block)
            self.sent += len(block)
            upstream.write(block)
            await upstream.drain()
            while self.stall_after is not None and self.sent > self.stall_after and not writer.is_closing():
                await asyncio.sleep(0.05)
            if self.cuts and sent > self.cuts[0]:
                self.cuts.pop(0)
                await asyncio.sleep(0.1)  # what was sent arrives
                return

    async def _answer(self, block: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _, body = block.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if length is not None:
            await reader.readexactly(int(length[1]) - len(body))
        writer.write(self.answers.pop(0))
        await writer.drain()
        writer.write_eof()
        await asyncio.sleep(0.1)

    async def _receive(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await back.read(65536):
            if self.lost:
                self.lost -= 1
                return
            writer.write(block)
            await writer.drain()


@asynccontextmanager
async def proxy_to(server: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(server)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        proxy.break_all()
        listener.close()
